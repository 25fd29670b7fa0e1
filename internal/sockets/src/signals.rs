//! Signals: facts about the present moment, such as who is typing, from one device to others, separate from
//! everything durable.
//!
//! ```text
//! device's frame --> rate --> members --> chat.signals --> reader --> mailboxes --> devices that asked for signals
//!                             (cached)    (lossy lane)
//! ```
//!
//! A signal never waits for a retry, and nothing durable waits for a signal: one that meets a bound, a slow store
//! or a failing log is dropped and counted. There is no cursor, no position and no row; a node that starts reads
//! from the log's end on.
//!
//! The recipients are looked up in the store, behind the barrier: the members of the conversation as of everything
//! that was in the log at that time. The result is used for [`MEMBERS_KEPT`], or until this node's feed shows that
//! the members have changed. So a removed member neither sends nor receives signals for longer than that.
//!
//! | bound | at the bound |
//! |---|---|
//! | signals of a socket per second | dropped |
//! | signals of a user and conversation: one in [`TYPING_EVERY`](domain::TYPING_EVERY) | dropped |
//! | users and conversations whose rate is tracked | dropped |
//! | conversations whose members are cached | those used longest ago are looked up again |
//! | concurrent look-ups of members, and the time of one | dropped |
//! | signals that wait for one look-up | dropped |
//! | members of a conversation: [`TYPING_MEMBERS_MAX`](domain::TYPING_MEMBERS_MAX) | sent to nobody |
//! | signals that wait for a socket | the oldest is dropped |
//! | age of a signal: [`SIGNAL_SHOWN`](domain::SIGNAL_SHOWN) | dropped |
//! | users that a socket watches: [`WATCHED_MAX`] | the rest of the list is not watched |
//! | users of the node whose presence is tracked, and users about whom other nodes want to know | told to be offline |
//! | users whom the sockets of the node watch | shown as offline |
//! | users in one record of a watch or of presences | another record |
//! | changes of one user's presence: one in [`PRESENCE_EVERY`] | the newest is told then |
//! | presences that wait for a socket: one for each user that it watches | the newest counts |
//! | look-ups of privacy settings, and users of one | they wait for their turn |
//! | look-ups of who shares a conversation with a watcher | they wait for their turn |
//!
//! # Presence
//!
//! A node with watchers sends a *watch* to the partition of the watched users, and repeats it. Every node that has
//! sockets of that partition reads it, and those with sockets of the users say how present they are: at once, and at
//! each change, to the partition that the watch names, which the watcher's node reads. So what a node keeps is bounded
//! by its own users and by its own watchers, however many nodes there are, and nobody else is told anything. A record
//! that is lost is made good by the next repetition, and what is not repeated is forgotten.
//!
//! ```text
//! watcher's node  --- watch {users, partition to tell} ---> chat.signals, partition of the users  ---> their nodes
//!                 <-- presence {node, states} ------------- chat.signals, partition to tell       <---
//! ```

mod mailbox;
mod members;
mod presence;
mod rate;
mod reader;
mod sharing;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use commands::Barrier;
use domain::{PRESENCE_EVERY, Presence, Signal, Status, UserId, WATCHED_MAX};
use environment::seeded_bugs::{Bug, seeded};
use environment::{Clock, Entropy};
use eventlog::{NewRecord, partition_of_id};
use events::topics::{self, SIGNALS};
use events::{Codec, Delivery, Encoded, SignalRecord};
use protocol::SignalFrame;
use store::SharedStore;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::metrics::{Metrics, SignalFate};
use crate::partition::Log;
use crate::text_frame::TextFrame;
use mailbox::{Mailbox, Mailboxes};
use members::{Asked, Members, PrivacyChanges};
use presence::{Presences, Reports};
use rate::SignalRate;
use watching::{Asks, Watching};

pub(crate) use mailbox::Subscription;
pub use members::MEMBERS_KEPT;
pub(crate) use members::MembersCache;
pub use presence::QUIET_AFTER_START;
pub use watching::SHARING_KEPT;

/// Signals that a socket may send at once, after a pause. Beyond, they are dropped.
pub const SIGNALS_BURST: u32 = 20;
/// Signals that a socket may send per second in the long run.
pub const SIGNALS_PER_SECOND: u32 = 2;
/// Users in one record of a watch or of presences.
const RECORD_USERS_MAX: usize = 1_000;
/// Look-ups of privacy settings that run at the same time; each is of at most [`PRIVACY_LOOK_UP_USERS_MAX`] users.
const PRIVACY_LOOK_UPS_MAX: usize = 4;
/// Users of one such look-up, of whom 8 are asked for at a time. Others are looked up after it.
const PRIVACY_LOOK_UP_USERS_MAX: usize = 500;
/// Watches of sockets for which it is looked up at the same time who shares a conversation.
const SHARING_LOOK_UPS_MAX: usize = 8;

/// The signals of a node.
pub(crate) struct Signals {
    log: Log,
    codec: Codec,
    clock: Clock,
    entropy: Entropy,
    metrics: Metrics,
    rate: Mutex<SignalRate>,
    members: Members,
    /// For look-ups of who shares a conversation.
    store: SharedStore,
    sharing: Semaphore,
    /// For look-ups of who shows their presence.
    showing: Semaphore,
    privacy_changes: Arc<PrivacyChanges>,
    /// An id of this node, drawn anew at each start.
    node: Uuid,
    begun: Instant,
    presences: Mutex<Presences>,
    watching: Mutex<Watching>,
    /// The count of sockets, from which each gets its number.
    sockets: AtomicU64,
    /// Whether the task of the ticks runs.
    ticks: AtomicBool,
    /// The partitions of `chat.signals`, by number.
    partitions: Vec<Mailboxes>,
    /// The tasks of look-ups and readers.
    tasks: TaskTracker,
    /// Ends those tasks.
    stop: CancellationToken,
}

/// The dependencies of a node's signals.
pub(crate) struct Needs {
    pub(crate) log: Log,
    pub(crate) store: SharedStore,
    /// Invalidated by the readers of the feed, when members change.
    pub(crate) members: MembersCache,
    pub(crate) codec: Codec,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Signals {
    pub(crate) fn new(needs: Needs) -> Arc<Self> {
        let Needs { log, store, members, codec, clock, entropy, metrics, tasks, stop } = needs;
        let barrier = Barrier::new(Arc::clone(&log.0), Arc::clone(&store));
        Arc::new(Self {
            privacy_changes: members.privacy_changes(),
            members: Members::new(Arc::clone(&store), barrier, members),
            store,
            sharing: Semaphore::new(SHARING_LOOK_UPS_MAX),
            showing: Semaphore::new(PRIVACY_LOOK_UPS_MAX),
            node: Uuid::from_bytes(entropy.bytes()),
            begun: Instant::now(),
            presences: Mutex::new(Presences::new(Instant::now())),
            watching: Mutex::default(),
            sockets: AtomicU64::default(),
            ticks: AtomicBool::default(),
            rate: Mutex::default(),
            partitions: (0..topics::spec_of(SIGNALS).partitions).map(|_| Mailboxes::default()).collect(),
            log,
            codec,
            clock,
            entropy,
            metrics,
            tasks,
            stop,
        })
    }

    /// Handles a device's `typing` frame. Returns at once; the signal may be dropped.
    pub(crate) fn typing(self: &Arc<Self>, signal: Signal) {
        let Signal::Typing { conversation, user, .. } = signal;
        if !self.rate().take(user, conversation) {
            return self.metrics.signal(SignalFate::TooOften);
        }
        match self.members.of(conversation, signal) {
            Asked::Known(members) => self.tell(&members, signal),
            Asked::Waits => {}
            Asked::Busy => self.metrics.signal(SignalFate::Busy),
            Asked::LookUp(look_up) => {
                let signals = Arc::clone(self);
                self.tasks.spawn(async move {
                    let looked = signals.stop.run_until_cancelled(signals.members.look_up(&look_up)).await;
                    let (members, waiting) = looked.unwrap_or_default();
                    for signal in waiting {
                        match &members {
                            Some(members) => signals.tell(members, signal),
                            None => signals.metrics.signal(SignalFate::NotLookedUp),
                        }
                    }
                });
            }
        }
    }

    /// Registers one socket of `user` for signals, and starts the partition's reader if none runs.
    pub(crate) fn subscribe(self: &Arc<Self>, user: UserId) -> Subscription {
        let number = self.partition(user);
        let (subscription, first) = Mailboxes::subscribe(self, number, user);
        if first {
            self.tasks.spawn(reader::run(Arc::clone(self), number));
        }
        if !self.ticks.swap(true, Ordering::Relaxed) {
            self.tasks.spawn(Arc::clone(self).tick_on_and_on());
        }
        subscription
    }

    /// Sends the signal to the members, if its user is one of them, as one record for each partition with
    /// recipients.
    fn tell(&self, members: &[UserId], signal: Signal) {
        let Signal::Typing { user, .. } = signal;
        if !members.contains(&user) {
            return self.metrics.signal(SignalFate::NotMember);
        }
        let mut by_partition: BTreeMap<u32, Vec<UserId>> = BTreeMap::new();
        // The user's own devices get no signal.
        for member in members.iter().filter(|member| **member != user) {
            by_partition.entry(self.partition(*member)).or_default().push(*member);
        }
        for (partition, recipients) in by_partition {
            let key = recipients[0].to_string();
            if seeded(Bug::SignalOnDurablePath) {
                self.deliver(partition, recipients.clone(), signal);
            }
            self.send(partition, key, &SignalRecord::Told { recipients, signal });
        }
    }

    /// A bug on purpose: appends the signal to the durable feed.
    fn deliver(&self, partition: u32, recipients: Vec<UserId>, signal: Signal) {
        let frame = serde_json::to_string(&SignalFrame::from(signal)).expect("frames are plain data");
        let key = recipients[0].to_string();
        let Encoded { headers, payload } = self.codec.delivery(&Delivery { recipients, event_key: None, frame });
        let (log, record) = (self.log.clone(), NewRecord { key, partition: Some(partition), headers, payload });
        self.tasks.spawn(async move { log.0.enqueue(topics::DELIVERIES, record).await.is_ok() });
    }

    fn send(&self, partition: u32, key: String, record: &SignalRecord) {
        let Encoded { headers, payload } = self.codec.signal(record);
        let record = NewRecord { key, partition: Some(partition), headers, payload };
        let taken = self.log.0.send_lossy(SIGNALS, record);
        self.metrics.signal(if taken { SignalFate::Sent } else { SignalFate::NotTaken });
    }

    /// A number for a new socket.
    fn next_socket(&self) -> u64 {
        self.sockets.fetch_add(1, Ordering::Relaxed)
    }

    /// A device of the user has that status.
    fn says(&self, user: UserId, socket: u64, status: Status) {
        let tracked = self.presences().says(user, socket, status, self.clock.now_ms());
        if !tracked {
            self.metrics.signal(SignalFate::TooMany);
        }
    }

    /// A socket that was subscribed is closed.
    fn closed(&self, user: UserId, socket: u64) {
        self.presences().leaves(user, socket, Instant::now(), self.clock.now_ms());
        self.watching().close(socket);
    }

    /// The socket watches these users from now on.
    fn watch(
        self: &Arc<Self>,
        user: UserId,
        (socket, partition): (u64, u32),
        mailbox: &Arc<Mailbox>,
        users: &[UserId],
    ) {
        let list: BTreeSet<UserId> = users.iter().take(WATCHED_MAX).copied().collect();
        if users.len() > WATCHED_MAX {
            self.metrics.signal(SignalFate::TooMany);
        }
        let unknown = self.watching().watch((socket, user, partition), mailbox, &list, Instant::now());
        self.look_up(socket, user, unknown);
    }

    /// Looks up in the background which of these users share a conversation with the socket's.
    fn look_up(self: &Arc<Self>, socket: u64, user: UserId, mut unknown: Vec<UserId>) {
        if unknown.is_empty() {
            return;
        }
        let signals = Arc::clone(self);
        self.tasks.spawn(async move {
            let looking = async {
                while !unknown.is_empty() {
                    let Ok(_permit) = signals.sharing.acquire().await else { return };
                    let found = sharing::with(&signals.store, user, std::mem::take(&mut unknown)).await;
                    let found = found.unwrap_or_else(|error| {
                        tracing::debug!(%error, "who shares a conversation is not looked up");
                        signals.metrics.signal(SignalFate::NotLookedUp);
                        Vec::new()
                    });
                    // Before this, users of this very node may not have been told of.
                    let silent_at = signals.begun + QUIET_AFTER_START + PRESENCE_EVERY;
                    if found.is_empty() {
                        sleep(PRESENCE_EVERY).await; // and tries again
                    }
                    unknown = signals.watching().looked_up(socket, &found, silent_at, Instant::now());
                    signals.ask_about_fresh();
                }
            };
            signals.stop.run_until_cancelled(looking).await;
        });
    }

    fn ask_about_fresh(&self) {
        let asks = self.watching().fresh(|user| self.partition(user), Instant::now());
        self.ask(asks);
    }

    fn ask(&self, asks: Asks) {
        for ((partition, told), users) in asks {
            for users in users.chunks(RECORD_USERS_MAX) {
                let record = SignalRecord::Watch { users: users.to_vec(), partition: told };
                self.send(partition, users[0].to_string(), &record);
            }
        }
    }

    fn report(&self, reports: Reports) {
        for (partition, states) in reports {
            for states in states.chunks(RECORD_USERS_MAX) {
                let record = SignalRecord::Presence { node: self.node, states: states.to_vec() };
                self.send(partition, states[0].user.to_string(), &record);
            }
        }
    }

    /// A node wants to know about users, who may be here.
    fn wanted(self: &Arc<Self>, users: &[UserId], partition: u32) {
        if partition as usize >= self.partitions.len() {
            return self.metrics.signal(SignalFate::Unreadable);
        }
        let (states, beyond) = self.presences().want(users, partition, Instant::now());
        if beyond > 0 {
            self.metrics.signal(SignalFate::TooMany);
        }
        self.report(Reports::from([(partition, states)]));
        self.look_up_privacy();
    }

    /// A node says how present users are there.
    fn said(&self, node: Uuid, states: &[Presence]) {
        self.watching().say(node, states, Instant::now());
    }

    async fn tick_on_and_on(self: Arc<Self>) {
        let mut next = Instant::now() + PRESENCE_EVERY;
        let ticking = async {
            loop {
                tokio::select! {
                    () = sleep_until(next) => {
                        next += PRESENCE_EVERY;
                        self.tick();
                    }
                    users = self.privacy_changes.next() => self.privacy_changed(&users),
                }
            }
        };
        self.stop.run_until_cancelled(ticking).await;
    }

    /// Users have changed their settings: what is known of them is looked up again, in both directions.
    fn privacy_changed(self: &Arc<Self>, users: &BTreeSet<UserId>) {
        for user in users {
            self.presences().privacy_changed(*user);
            let again = self.watching().privacy_changed(*user);
            for (socket, user, users) in again {
                self.look_up(socket, user, users);
            }
        }
        self.look_up_privacy();
    }

    /// Looks up in the background whether others may know of those about whom they want to, and tells them.
    fn look_up_privacy(self: &Arc<Self>) {
        // Where none is free, the next tick begins it.
        let Ok(permit) = self.showing.try_acquire() else { return };
        let users = self.presences().unknown(PRIVACY_LOOK_UP_USERS_MAX, Instant::now());
        drop(permit);
        if users.is_empty() {
            return;
        }
        let signals = Arc::clone(self);
        self.tasks.spawn(async move {
            let looking = async {
                let Ok(_permit) = signals.showing.acquire().await else { return };
                let found = sharing::who_shows(&signals.store, users).await;
                for (user, changes, shows) in found {
                    signals.presences().knows(user, changes, shows, Instant::now());
                }
                let reports = signals.presences().tick(Instant::now(), signals.clock.now_ms());
                signals.report(reports);
            };
            signals.stop.run_until_cancelled(looking).await;
        });
    }

    fn tick(self: &Arc<Self>) {
        let now = Instant::now();
        let reports = self.presences().tick(now, self.clock.now_ms());
        self.report(reports);
        self.look_up_privacy();
        let (asks, again) = self.watching().tick(|user| self.partition(user), now);
        self.ask(asks);
        for (socket, user, users) in again {
            self.look_up(socket, user, users);
        }
    }

    fn presences(&self) -> MutexGuard<'_, Presences> {
        self.presences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watching(&self) -> MutexGuard<'_, Watching> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition that a user's signals are in: that of their deliveries.
    fn partition(&self, user: UserId) -> u32 {
        partition_of_id(user.uuid(), u32::try_from(self.partitions.len()).unwrap_or(u32::MAX))
    }

    /// The age of a record: this node's time minus the log's append time.
    fn age(&self, append_time_ms: i64) -> Duration {
        let age_ms = self.clock.now_ms().saturating_sub(append_time_ms);
        Duration::from_millis(u64::try_from(age_ms).unwrap_or(0))
    }

    fn rate(&self) -> MutexGuard<'_, SignalRate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A signal as a frame that is ready to be sent.
fn rendered(frame: &SignalFrame) -> TextFrame {
    TextFrame::new(&serde_json::to_string(frame).expect("frames are plain data"))
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signals").field("node", &self.node).field("watching", &self.watching).finish_non_exhaustive()
    }
}
