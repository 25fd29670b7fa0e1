//! The queues of signals for the sockets of one partition's users. A queue is short, and a new signal replaces an
//! older one of the same kind, user and conversation.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{Presence, SIGNAL_SHOWN, Signal, Status, UserId};
use protocol::SignalFrame;
use tokio::sync::Notify;

use super::Signals;
use crate::text_frame::TextFrame;

/// The most signals that wait for one socket. At the bound the oldest is dropped.
const WAITING_MAX: usize = 16;
/// Presences that are sent at a time: the feed need not wait for more.
const PRESENCES_AT_ONCE: usize = 50;

/// The sockets of one partition that receive signals.
#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Accessed by user only, so its random order does not matter.
    users: HashMap<UserId, Vec<Arc<Mailbox>>>,
    /// Whether the partition's reader runs.
    reading: bool,
}

/// The queue of one socket.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<VecDeque<Waiting>>,
    /// The presence of watched users that the socket was not told yet. Of each the newest counts, so it is never
    /// longer than the socket's list.
    presences: Mutex<BTreeMap<UserId, Presence>>,
    wake: Notify,
}

/// A signal with its rendered frame.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) signal: Signal,
    pub(super) frame: TextFrame,
    /// When the log appended it, in milliseconds.
    pub(super) append_time_ms: i64,
}

/// A socket's subscription to signals, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    signals: Arc<Signals>,
    partition: u32,
    user: UserId,
    mailbox: Arc<Mailbox>,
    /// The number of the socket.
    socket: u64,
}

impl Mailboxes {
    /// Registers a socket of `user`; returns whether a reader has to be started for it.
    pub(super) fn subscribe(signals: &Arc<Signals>, partition: u32, user: UserId) -> (Subscription, bool) {
        let mailbox = Arc::new(Mailbox::default());
        let mut inner = signals.partitions[partition as usize].inner();
        inner.users.entry(user).or_insert_with(|| Vec::with_capacity(1)).push(Arc::clone(&mailbox));
        let first = !std::mem::replace(&mut inner.reading, true);
        drop(inner);
        let socket = signals.next_socket();
        (Subscription { signals: Arc::clone(signals), partition, user, mailbox, socket }, first)
    }

    /// Puts a signal into the mailboxes of those users, and wakes their sockets; returns how many older signals
    /// were dropped for it.
    pub(super) fn push(&self, recipients: &[UserId], waiting: &Waiting) -> u64 {
        let inner = self.inner();
        let mailboxes = recipients.iter().filter_map(|user| inner.users.get(user)).flatten();
        mailboxes.map(|mailbox| u64::from(mailbox.put(waiting.clone()))).sum()
    }

    /// Called by the reader before it ends. Returns whether there is no socket; then the next socket starts a new
    /// reader.
    pub(super) fn leave_if_vacant(&self) -> bool {
        let mut inner = self.inner();
        let vacant = inner.users.is_empty();
        inner.reading = !vacant;
        vacant
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    /// Queues a signal; returns whether the oldest one was dropped for it.
    fn put(&self, new: Waiting) -> bool {
        let mut waiting = self.waiting();
        waiting.retain(|earlier| !new.signal.replaces(&earlier.signal));
        let full = waiting.len() >= WAITING_MAX;
        if full {
            waiting.pop_front();
        }
        waiting.push_back(new);
        drop(waiting);
        self.wake.notify_one();
        full
    }

    /// Queues what the socket is to be told of a user.
    pub(super) fn present(&self, presence: Presence) {
        self.presences_waiting().insert(presence.user, presence);
        self.wake.notify_one();
    }

    /// The socket does not watch that user any more.
    pub(super) fn forget(&self, user: UserId) {
        self.presences_waiting().remove(&user);
    }

    /// Takes at most so many of the presences that wait.
    pub(super) fn presences(&self, most: usize) -> Vec<Presence> {
        let mut waiting = self.presences_waiting();
        std::iter::from_fn(|| waiting.pop_first()).take(most).map(|(_, presence)| presence).collect()
    }

    fn presences_waiting(&self) -> MutexGuard<'_, BTreeMap<UserId, Presence>> {
        self.presences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The device is this present. It counts from its welcome on, at first as online.
    pub(crate) fn says(&self, status: Status) {
        self.signals.says(self.user, self.socket, status);
    }

    /// The device shows these users from now on.
    pub(crate) fn watch(&self, users: &[UserId]) {
        self.signals.watch(self.user, (self.socket, self.partition), &self.mailbox, users);
    }

    /// Waits for signals, and returns their frames. Signals that have become too old meanwhile are dropped. Cancel
    /// safe: signals that are not returned still wait.
    pub(crate) async fn next(&self) -> Vec<TextFrame> {
        loop {
            let waiting = std::mem::take(&mut *self.mailbox.waiting());
            let fresh = |waiting: &Waiting| self.signals.age(waiting.append_time_ms) <= SIGNAL_SHOWN;
            let mut frames: Vec<TextFrame> = waiting.into_iter().filter(fresh).map(|waiting| waiting.frame).collect();
            let presences = self.mailbox.presences(PRESENCES_AT_ONCE);
            frames.extend(presences.into_iter().map(|presence| super::rendered(&SignalFrame::from(presence))));
            if !frames.is_empty() {
                return frames;
            }
            self.mailbox.wake.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.signals.closed(self.user, self.socket);
        let mut inner = self.signals.partitions[self.partition as usize].inner();
        if let Some(mailboxes) = inner.users.get_mut(&self.user) {
            mailboxes.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
            if mailboxes.is_empty() {
                inner.users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{ConversationId, Doing};

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
    }

    fn typing(number: u128, append_time_ms: i64) -> Waiting {
        // What a user does may change: the newest counts.
        let doing = if append_time_ms % 2 == 0 { Doing::File } else { Doing::Text };
        let conversation = ConversationId::direct(user(1), user(2));
        let signal = Signal::Typing { conversation, user: user(number), doing, thread: None };
        Waiting { signal, frame: TextFrame::new(&format!("{number} at {append_time_ms}")), append_time_ms }
    }

    #[test]
    fn the_newest_of_each_counts_and_few_wait() {
        let mailbox = Mailbox::default();
        for time in 1..=3 {
            assert!(!mailbox.put(typing(5, time)), "nothing else had to go");
        }
        let waiting: Vec<_> = mailbox.waiting().iter().map(|waiting| waiting.append_time_ms).collect();
        assert_eq!(waiting, [3]);
        let dropped = (10..10 + 2 * WAITING_MAX as u128).filter(|number| mailbox.put(typing(*number, 9))).count();
        assert_eq!(dropped, WAITING_MAX + 1, "the oldest go");
        assert_eq!(mailbox.waiting().len(), WAITING_MAX);
    }
}
