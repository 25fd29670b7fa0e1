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
mod holds_tests;
mod lag;
#[cfg(test)]
mod lag_tests;
mod metrics;
mod partition;
mod place;
mod receipts;
mod redrive;
mod replay;
#[cfg(test)]
mod replay_tests;
mod rows;
#[cfg(test)]
mod scene;

use std::pin::pin;
use std::sync::Arc;

use domain::RULES_NEWEST;
use eventlog::consume::{BoxError, consume};
use eventlog::{Assigned, Committer, SharedLog, promises};
use events::Codec;
use events::topics::{GROUP_STORAGE, MESSAGES, QUARANTINE, RECEIPTS};
use host::Entropy;
use runtime::{Given, Readiness, insist};
use store::{SharedStore, StoreError};
use tokio_util::sync::CancellationToken;

pub use error::StorageError;
pub use metrics::StorageMetrics;
pub use receipts::replay_marks;
pub use redrive::SLICE_EVENTS_MAX;
pub use replay::{Replayed, replay};
pub use rows::rows_of;

/// What it reads, and where it puts what cannot be read.
const TOPICS: [&str; 3] = [MESSAGES, RECEIPTS, QUARANTINE];

/// What the consumer works with.
#[derive(Clone)]
pub struct Deps {
    /// Where events come from.
    pub log: SharedLog,
    /// Where rows go.
    pub store: SharedStore,
    /// Reads records.
    pub codec: Codec,
    /// For jitter.
    pub entropy: Entropy,
    /// Counters.
    pub metrics: StorageMetrics,
    /// The newest rules that this program judges by: [`RULES_NEWEST`], or older to act as an older program in a test.
    pub rules_newest: u32,
    /// Events that one part of a re-drive judges at about most: [`SLICE_EVENTS_MAX`], or few in a test.
    pub slice_events: usize,
}

impl Deps {
    /// The consumer over that log and store, with the newest rules.
    #[must_use]
    pub fn new(log: SharedLog, store: SharedStore, codec: Codec, entropy: Entropy, metrics: StorageMetrics) -> Self {
        Self { log, store, codec, entropy, metrics, rules_newest: RULES_NEWEST, slice_events: SLICE_EVENTS_MAX }
    }
}

/// Consumes until `shutdown`: every partition that the group gives this process. When another incarnation of the store
/// becomes current, it begins again with that one, from its `applied + 1`.
///
/// # Errors
/// When it cannot go on: a topic is not the one it was, or the log or the store is broken.
pub async fn run(deps: Deps, readiness: Readiness, shutdown: CancellationToken) -> Result<(), BoxError> {
    let condition = readiness.condition("storage", "the topics were not looked at yet");
    let watching = promises::watch(&*deps.log, &TOPICS, &deps.codec, |fault| condition.tell(fault));
    let consuming = async {
        loop {
            let open = || store::pinned(&*deps.store);
            let store = match insist("open the store", &deps.entropy, &shutdown, StoreError::is_transient, open).await {
                Ok(store) => store,
                Err(Given::Stopped) => return Ok(()),
                Err(Given::Up(error)) => return Err(error.into()),
            };
            let pinned = Deps { store: Arc::clone(&store), ..deps.clone() };
            let ended = consume_pinned(pinned, shutdown.child_token()).await;
            // By now the pinned one may be current again: then only what ended it says that another was in between.
            let another = ended.as_ref().is_err_and(|error| store::is_of_another_incarnation(&**error))
                || store::still_current(&*store).await.is_err_and(|error| store::is_of_another_incarnation(&error));
            if !another || shutdown.is_cancelled() {
                return ended;
            }
            tracing::info!("storage begins again with the current incarnation");
        }
    };
    tokio::select! {
        biased;
        ended = consuming => ended,
        never = watching => match never {},
    }
}

/// Consumes with a handle to one incarnation, until `stop` or until another one is current.
async fn consume_pinned(deps: Deps, stop: CancellationToken) -> Result<(), BoxError> {
    let deps = Arc::new(deps);
    let work = {
        let deps = Arc::clone(&deps);
        Arc::new(move |assigned: Assigned, committer: Arc<dyn Committer>, stop: CancellationToken| {
            let deps = Arc::clone(&deps);
            let task: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = if assigned.at.topic == MESSAGES {
                Box::pin(partition::run(deps, assigned, committer, stop))
            } else {
                Box::pin(receipts::run(deps, assigned, committer, stop))
            };
            task
        })
    };
    let mut consuming =
        pin!(consume(&deps.log, GROUP_STORAGE, &[MESSAGES, RECEIPTS], work, &deps.entropy, stop.clone()));
    tokio::select! {
        biased;
        ended = &mut consuming => Ok(ended?),
        error = store::replaced(&*deps.store) => {
            stop.cancel();
            consuming.await?;
            Err(error.into())
        }
    }
}
