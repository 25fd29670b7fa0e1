//! The storage consumer: events to rows.
//!
//! One task per partition of `chat.messages` reads it from `applied + 1`, decides each event with the reducer, writes
//! the rows, and then publishes `applied`. It never parks: it knows that everything up to `applied` is in the store, so
//! it loads what a batch needs as of there. Read marks (`chat.receipts`) are applied the same way, without a reducer.
//!
//! Rows carry the event's seq as their timestamp, so a crash between any two writes, a slow predecessor that goes on
//! after a rebalance, and a replay all come to the same rows.

mod batch;
mod error;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod holds_tests;
mod lag_commits;
#[cfg(test)]
mod lag_commits_tests;
mod metrics;
mod partition;
mod pending;
mod read_marks;
mod redrive;
mod redrives;
mod replay;
#[cfg(test)]
mod replay_tests;

use consumer::{Group, Route, Seams};
use domain::RULES_NEWEST;
use environment::Entropy;
use eventlog::SharedLog;
use eventlog::consume::BoxError;
use events::Codec;
use events::topics::{GROUP_STORAGE, MESSAGES, QUARANTINE, RECEIPTS};
use process::Readiness;
use store::SharedStore;
use tokio_util::sync::CancellationToken;

pub use consumer::ConsumerError;
pub use error::StorageError;
pub use metrics::StorageMetrics;
pub use read_marks::replay_marks;
pub use redrive::SLICE_EVENTS_MAX;
pub use replay::{Replayed, replay};

/// The dependencies of the consumer.
#[derive(Clone)]
pub struct Deps {
    /// The log that events come from, and the store that rows go to.
    pub seams: Seams,
    /// The metrics.
    pub metrics: StorageMetrics,
    /// The newest rules that this program judges by: [`RULES_NEWEST`], or older to act as an older program in a test.
    pub rules_newest: u32,
    /// Events that one slice of a re-drive judges, about: [`SLICE_EVENTS_MAX`], or few in a test.
    pub slice_events: usize,
}

impl Deps {
    /// The consumer over that log and store, with the newest rules.
    #[must_use]
    pub fn new(log: SharedLog, store: SharedStore, codec: Codec, entropy: Entropy, metrics: StorageMetrics) -> Self {
        let (rules_newest, slice_events) = (RULES_NEWEST, SLICE_EVENTS_MAX);
        Self { seams: Seams { log, store, codec, entropy }, metrics, rules_newest, slice_events }
    }
}

/// The topics, and the work on each.
const GROUP: Group<Deps> = Group {
    name: "storage",
    id: GROUP_STORAGE,
    routes: &[
        Route {
            topic: MESSAGES,
            begin: |deps, assigned, committer, stop| Box::pin(partition::run(deps, assigned, committer, stop)),
        },
        Route {
            topic: RECEIPTS,
            begin: |deps, assigned, committer, stop| Box::pin(read_marks::run(deps, assigned, committer, stop)),
        },
    ],
    // The topic that unreadable records are copied to.
    writes: &[QUARANTINE],
};

/// Consumes until `shutdown`: every partition that the group assigns to this process. When another incarnation of the
/// store becomes current, it begins again with that one, from its `applied + 1`.
///
/// # Errors
/// When it cannot go on: a topic was re-created, or the log or the store is broken.
pub async fn run(deps: Deps, readiness: Readiness, shutdown: CancellationToken) -> Result<(), BoxError> {
    let pinned = |seams| Deps { seams, ..deps.clone() };
    consumer::run(deps.seams.clone(), GROUP, pinned, deps.metrics.group.clone(), readiness, shutdown).await
}
