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

mod mailbox;
mod members;
mod rate;
mod reader;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use commands::Barrier;
use domain::{ConversationId, Signal, UserId};
use environment::{Clock, Entropy};
use eventlog::{NewRecord, partition_of_id};
use events::topics::{self, SIGNALS};
use events::{Codec, Encoded, SignalRecord};
use store::SharedStore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{Metrics, SignalFate};
use crate::partition::Log;
use mailbox::Mailboxes;
use members::{Asked, Members};
use rate::SignalRate;

pub(crate) use mailbox::Subscription;
pub use members::MEMBERS_KEPT;
pub(crate) use members::MembersCache;

/// Signals that a socket may send at once, after a pause. Beyond, they are dropped.
pub const SIGNALS_BURST: u32 = 20;
/// Signals that a socket may send per second in the long run.
pub const SIGNALS_PER_SECOND: u32 = 2;

/// The signals of a node.
#[derive(Debug)]
pub(crate) struct Signals {
    log: Log,
    codec: Codec,
    clock: Clock,
    entropy: Entropy,
    metrics: Metrics,
    rate: Mutex<SignalRate>,
    members: Members,
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
            members: Members::new(store, barrier, members),
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
    pub(crate) fn typing(self: &Arc<Self>, user: UserId, conversation: ConversationId) {
        if !self.rate().take(user, conversation) {
            return self.metrics.signal(SignalFate::TooOften);
        }
        let signal = Signal::Typing { conversation, user };
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
            let Encoded { headers, payload } = self.codec.signal(&SignalRecord { recipients, signal });
            let record = NewRecord { key, partition: Some(partition), headers, payload };
            let taken = self.log.0.send_lossy(SIGNALS, record);
            self.metrics.signal(if taken { SignalFate::Sent } else { SignalFate::NotTaken });
        }
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
