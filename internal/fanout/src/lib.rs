//! The fan-out consumer: events to deliveries, by user partition.
//!
//! One task per partition of `chat.messages` decides each event with the same reducer as storage, as of the event, and
//! appends one record per delivery partition with recipients. The task is a loop around a state and a pure judge: the
//! judge is given an event and returns the one thing that is to be done next; only the loop does anything.
//!
//! ```text
//!      chat.messages            store, group, log read again
//!            |                      |              ^
//!            | records              | replies      | requests
//!            v                      v              |
//!   +--------------------------------------+   +-----------------------------+
//!   | loop             partition.rs        |-->| background   background.rs  |
//!   |  waits for what comes next, does     |<--|  answers a request, through |
//!   |  what is decided: commit.rs,         |   |  any outage (request.rs)    |
//!   |  follow.rs, pace.rs                  |   +-----------------------------+
//!   +--------------------------------------+
//!      | an event, or a reply       ^    |
//!      v                            |    | deliveries, in order
//!   +-----------------------+       |    v
//!   | judge        judge.rs |-------+  +---------------------------------------+
//!   |  holds        hold.rs | decision | outbox                    outbox.rs   |
//!   |  records   records.rs |          |  in flight, bounded per partition     |
//!   +-----------------------+          +---------------------------------------+
//!      | reads and changes                 |                  | one takes nothing
//!      v                                   v                  v
//!   +-----------------------+          chat.deliveries   +--------------------+
//!   | state        state.rs |                            | follower           |
//!   |  cache, parked.rs     |                            |  (lagging.rs)      |
//!   +-----------------------+                            +--------------------+
//! ```
//!
//! - *State*: the conversations in memory, those that are parked, the offset that the intake has come to. No I/O.
//! - *Judge*: from the state and an event to a decision (`decision.rs`): deliver these records, or make that request,
//!   now or once all earlier deliveries are acknowledged. An event counts as passed only when the loop reports that its
//!   records are handed over.
//! - *Background*: a conversation whose facts are not in memory is parked until they are read, or are in the store at
//!   all: only its first position is kept, its neighbours go on. So the loop itself never waits for the store. A
//!   conversation that cannot be judged by this program is held.
//!
//! Commits carry the parked positions and wait for acknowledged deliveries, so a crash repeats deliveries and never
//! skips any. A delivery partition that accepts no records lags behind the others, with a follower of its own: the same
//! loop once more, for that partition alone. Each delivery partition has its own bound in bytes, so the others go on.
//!
//! Read marks (`chat.receipts`) and account events (`users.events`) are relayed to the user concerned (`relay.rs`).

mod background;
mod catch_up_wait;
mod commit;
mod decision;
mod error;
mod follow;
mod held;
mod hold;
mod hold_records;
mod judge;
#[cfg(test)]
mod judge_tests;
mod lagging;
mod metrics;
mod outbox;
mod parked;
mod partition;
mod pending_holds;
mod position;
mod records;
mod relay;
mod request;
mod state;
mod undelivered;

use std::sync::Arc;

use consumer::{Group, Route, Seams};
use domain::RULES_NEWEST;
use environment::Entropy;
use eventlog::SharedLog;
use eventlog::consume::BoxError;
use events::Codec;
use events::topics::{DELIVERIES, GROUP_FANOUT, MESSAGES, RECEIPTS, USERS, spec_of};
use process::Readiness;
use store::SharedStore;
use tokio_util::sync::CancellationToken;

use relay::Relayed;

pub use error::FanoutError;
pub use lagging::LAGGING_MAX;
pub use metrics::FanoutMetrics;
pub use outbox::InFlightLimits;
pub use parked::{PARKED_MAX, QUEUED_MAX};

/// The dependencies of the consumer.
#[derive(Clone)]
pub struct Deps {
    /// The log that events come from and deliveries go to, and the store that facts are read from. The log must not
    /// give a record up (no delivery timeout).
    pub seams: Seams,
    /// The metrics.
    pub metrics: FanoutMetrics,
    /// The newest rules that this program judges by: [`RULES_NEWEST`], or older to act as an older program in a test.
    pub rules_newest: u32,
    /// Events that all parked conversations of a partition keep in memory: [`QUEUED_MAX`], or few in a test.
    pub queued_max: usize,
    /// The bounds of bytes in flight to each delivery partition.
    pub limits: Arc<InFlightLimits>,
}

impl Deps {
    /// The consumer over that log and store, with the newest rules.
    #[must_use]
    pub fn new(log: SharedLog, store: SharedStore, codec: Codec, entropy: Entropy, metrics: FanoutMetrics) -> Self {
        let (rules_newest, queued_max) = (RULES_NEWEST, QUEUED_MAX);
        let limits = Arc::new(InFlightLimits::new(spec_of(DELIVERIES).partitions));
        Self { seams: Seams { log, store, codec, entropy }, metrics, rules_newest, queued_max, limits }
    }
}

/// The topics, and the work on each.
const GROUP: Group<Deps> = Group {
    name: "fanout",
    id: GROUP_FANOUT,
    routes: &[
        Route {
            topic: MESSAGES,
            begin: |deps, assigned, committer, stop| Box::pin(partition::run(deps, assigned, committer, stop)),
        },
        Route {
            topic: RECEIPTS,
            begin: |deps, assigned, committer, stop| {
                Box::pin(relay::run(Relayed::Marks, deps, assigned, committer, stop))
            },
        },
        Route {
            topic: USERS,
            begin: |deps, assigned, committer, stop| {
                Box::pin(relay::run(Relayed::Accounts, deps, assigned, committer, stop))
            },
        },
    ],
    // The topic that deliveries go to.
    writes: &[DELIVERIES],
};

/// Consumes until `shutdown`: every partition that the group assigns to this process. When another incarnation of the
/// store becomes current, it begins again with that one, from the group's commit.
///
/// # Errors
/// When it cannot go on: the group has no commit, a topic was re-created, or the log or the store is broken.
pub async fn run(deps: Deps, readiness: Readiness, shutdown: CancellationToken) -> Result<(), BoxError> {
    let pinned = |seams| Deps { seams, ..deps.clone() };
    consumer::run(deps.seams.clone(), GROUP, pinned, deps.metrics.group.clone(), readiness, shutdown).await
}
