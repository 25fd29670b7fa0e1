//! The partitions that a member owns, shared by its task and its two threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventlog::{Assigned, Commit, GroupEvent, LogError, Revocation, TopicPartition};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::commits::Order;

/// How long an owner may take to release revoked partitions. Together with [`WRITES_WAIT`] it must stay well below
/// the group's `max.poll.interval.ms`.
const RELEASE_WAIT: Duration = Duration::from_secs(10);
/// How long to wait for the commits in progress for revoked partitions.
const WRITES_WAIT: Duration = Duration::from_secs(10);
/// How long a member may go without polling before it loses its partitions.
const POLL_WAIT: Duration = Duration::from_secs(60);

pub(super) struct GroupMembership {
    state: Mutex<State>,
    /// Notified by releases, written commits and the member's leaving.
    changed: Condvar,
    events: mpsc::Sender<Result<GroupEvent, LogError>>,
    /// The runtime for the tasks that wait for releases.
    runtime: Handle,
}

#[derive(Debug)]
struct State {
    owned: BTreeMap<TopicPartition, Ownership>,
    /// Partitions that the group assigned and that the member has not been sent yet.
    fresh: BTreeSet<TopicPartition>,
    /// The number of unreceived events that assign each partition to the member. While there is one, a commit by
    /// the member belongs to an earlier ownership whose loss it has not noticed; others may have committed in
    /// between.
    untold: BTreeMap<TopicPartition, u32>,
    /// The queue to the committing thread; `None` once the member has left.
    orders: Option<SyncSender<Order>>,
    /// The time of the member's last poll; `None` while it polls.
    idle_since: Option<Instant>,
    /// Whether the member was unsubscribed because it did not poll.
    expelled: bool,
}

#[derive(Debug, Default)]
struct Ownership {
    /// The number of commits that are being written.
    writing: u32,
    /// The partition is being given up: further commits are refused.
    ending: bool,
}

/// The change of subscription that the member's polling requires.
pub(super) enum Expulsion {
    None,
    Begins,
    Ends,
}

/// Held while a commit for some partitions is being written; dropping it marks the end of the write.
pub(super) struct WriteTicket {
    membership: Arc<GroupMembership>,
    partitions: Vec<TopicPartition>,
}

impl GroupMembership {
    /// Must be called within a tokio runtime.
    pub(super) fn new(events: mpsc::Sender<Result<GroupEvent, LogError>>, orders: SyncSender<Order>) -> Self {
        let state = State {
            owned: BTreeMap::new(),
            fresh: BTreeSet::new(),
            untold: BTreeMap::new(),
            orders: Some(orders),
            idle_since: Some(Instant::now()),
            expelled: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), events, runtime: Handle::current() }
    }

    /// The member has left: it owns nothing, and all waits for it end.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.orders = None;
        state.owned.values_mut().for_each(|owned| owned.ending = true);
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn has_left(&self) -> bool {
        self.lock().orders.is_none()
    }

    /// Records that the member begins (`true`) or stops polling.
    pub(super) fn polls(&self, polls: bool) {
        self.lock().idle_since = (!polls).then(Instant::now);
    }

    pub(super) fn expulsion(&self) -> Expulsion {
        let mut state = self.lock();
        let idle = state.idle_since.is_some_and(|since| since.elapsed() > POLL_WAIT);
        let polls = state.idle_since.is_none();
        match state.expelled {
            false if idle => {
                state.expelled = true;
                Expulsion::Begins
            }
            true if polls => {
                state.expelled = false;
                Expulsion::Ends
            }
            _ => Expulsion::None,
        }
    }

    /// Sends the member an event, waiting for room. Only for plain threads.
    pub(super) fn tell(&self, event: Result<GroupEvent, LogError>) {
        // A member that has left needs no event.
        let _ = self.events.blocking_send(event);
    }

    /// Adds partitions that the group assigned.
    pub(super) fn freshen(&self, partitions: Vec<TopicPartition>) {
        self.lock().fresh.extend(partitions);
    }

    /// The partitions that were assigned and not yet sent to the member.
    pub(super) fn fresh(&self) -> Vec<TopicPartition> {
        self.lock().fresh.iter().cloned().collect()
    }

    /// Sends the member its new partitions, with their commits.
    pub(super) fn assign(&self, commits: Vec<(TopicPartition, Option<Commit>)>) {
        let mut state = self.lock();
        let mut assigned = Vec::new();
        for (at, commit) in commits {
            if state.fresh.remove(&at) {
                state.owned.insert(at.clone(), Ownership::default());
                *state.untold.entry(at.clone()).or_default() += 1;
                assigned.push(Assigned { at, commit });
            }
        }
        drop(state);
        if !assigned.is_empty() {
            self.tell(Ok(GroupEvent::Assigned(assigned)));
        }
    }

    /// Notes that the member has received the event, and so has ended its earlier work on those partitions.
    pub(super) fn handed(&self, event: &GroupEvent) {
        let GroupEvent::Assigned(partitions) = event else { return };
        let mut state = self.lock();
        for Assigned { at, .. } in partitions {
            match state.untold.get_mut(at) {
                Some(more @ 2..) => *more -= 1,
                Some(_) => drop(state.untold.remove(at)),
                None => {}
            }
        }
    }

    /// Handles a revocation: asks the member to release the partitions, unless they are lost already, and returns
    /// when others may own them.
    pub(super) fn give_up(&self, partitions: Vec<TopicPartition>, lost: bool) {
        let mut state = self.lock();
        let told: Vec<_> = partitions.into_iter().filter(|at| !state.fresh.remove(at)).collect();
        let (left, lost) = (state.orders.is_none(), lost || state.expelled);
        drop(state);
        if told.is_empty() {
            return;
        }
        let late = !left && (lost || !self.await_release(told.clone()));
        self.end(&told);
        if late {
            self.tell(Ok(GroupEvent::Lost(told)));
        }
    }

    /// Waits for the release; returns whether the member released the partitions in time, or left.
    fn await_release(&self, partitions: Vec<TopicPartition>) -> bool {
        let (release, released) = oneshot::channel();
        let waiting = Arc::new(Mutex::new(true));
        self.tell(Ok(GroupEvent::Revoked(Revocation { partitions, release })));
        let done = Arc::clone(&waiting);
        let wait = self.runtime.spawn(async move {
            // A release that is sent or dropped both mean that the member is done.
            let _ = released.await;
            *done.lock().unwrap_or_else(PoisonError::into_inner) = false;
        });
        let deadline = Instant::now() + RELEASE_WAIT;
        let still = || *waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        while still() && state.orders.is_some() && Instant::now() < deadline {
            // Use a short timeout: the release does not notify `changed`.
            let waited = self.changed.wait_timeout(state, Duration::from_millis(5));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let in_time = !still() || state.orders.is_none();
        wait.abort();
        in_time
    }

    /// Ends the ownership of these partitions. Waits for commits in progress, so that the next owner sees them.
    fn end(&self, partitions: &[TopicPartition]) {
        let mut state = self.lock();
        for at in partitions {
            if let Some(owned) = state.owned.get_mut(at) {
                owned.ending = true;
            }
        }
        self.changed.notify_all();
        let writing =
            |state: &mut State| partitions.iter().any(|at| state.owned.get(at).is_some_and(|owned| owned.writing > 0));
        let waited = self.changed.wait_timeout_while(state, WRITES_WAIT, writing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        for at in partitions {
            state.owned.remove(at);
        }
    }

    /// Begins a commit; `None` when the member does not own all of the partitions, or has not received the
    /// assignment yet.
    pub(super) fn begin_commit(
        self: &Arc<Self>,
        partitions: Vec<TopicPartition>,
    ) -> Option<(WriteTicket, SyncSender<Order>)> {
        let mut state = self.lock();
        let orders = state.orders.clone()?;
        let counts = |at| state.owned.get(at).is_some_and(|owned| !owned.ending) && !state.untold.contains_key(at);
        if !partitions.iter().all(counts) {
            return None;
        }
        for at in &partitions {
            if let Some(owned) = state.owned.get_mut(at) {
                owned.writing += 1;
            }
        }
        Some((WriteTicket { membership: Arc::clone(self), partitions }, orders))
    }

    /// Waits before a commit is retried; returns whether a retry makes sense.
    pub(super) fn may_retry(&self, ticket: &WriteTicket, wait: Duration) -> bool {
        let ending =
            |state: &State| ticket.partitions.iter().any(|at| state.owned.get(at).is_none_or(|owned| owned.ending));
        let waited = self.changed.wait_timeout_while(self.lock(), wait, |state| !ending(state));
        !ending(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WriteTicket {
    fn drop(&mut self) {
        let mut state = self.membership.lock();
        for at in &self.partitions {
            if let Some(owned) = state.owned.get_mut(at) {
                owned.writing = owned.writing.saturating_sub(1);
            }
        }
        drop(state);
        self.membership.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// Runs `act` on a plain thread, as the group does.
    async fn in_thread(membership: &Arc<GroupMembership>, act: impl FnOnce(&GroupMembership) + Send + 'static) {
        let membership = Arc::clone(membership);
        tokio::task::spawn_blocking(move || act(&membership)).await.unwrap();
    }

    #[tokio::test]
    async fn who_lost_a_partition_and_got_it_back_unheard_commits_only_from_what_it_is_given_anew() {
        let ((tell, mut events), (order, _orders)) = (mpsc::channel(8), sync_channel(8));
        let (membership, at) = (Arc::new(GroupMembership::new(tell, order)), TopicPartition::new("topic", 0));
        let assign = |next| {
            let (at, commit) = (at.clone(), Some(Commit { next, metadata: String::new() }));
            move |membership: &GroupMembership| {
                membership.freshen(vec![at.clone()]);
                membership.assign(vec![(at, commit)]);
            }
        };
        let commits = || membership.begin_commit(vec![at.clone()]).is_some();
        let mut hand = || {
            let event = events.try_recv().unwrap().unwrap();
            membership.handed(&event);
            event
        };
        in_thread(&membership, assign(1)).await;
        assert!(!commits(), "it has not heard of it");
        hand();
        assert!(commits());

        // Assigned twice while the member does not listen; another member committed 9 in between.
        for next in [5, 9] {
            let lost = at.clone();
            in_thread(&membership, move |membership| membership.give_up(vec![lost], true)).await;
            in_thread(&membership, assign(next)).await;
            assert!(!commits(), "from the time before");
        }
        for event in 0..4 {
            assert!(!commits(), "{event} of 4 are heard");
            hand();
        }
        assert!(commits());
    }
}
