//! The fan-out consumer: events to deliveries, by user partition.
//!
//! One task per partition of `chat.messages` decides each event with the same reducer as storage, as of the event, and
//! appends one record per delivery partition with recipients. A conversation whose facts are not in memory is parked
//! until they are read, or are in the store at all: only its first position is kept, its neighbours go on. So the task
//! itself never waits for the store. One that cannot be judged by this program is held.
//! Commits carry the parked positions and wait for acknowledged deliveries, so a crash repeats, and never skips.
//! A delivery partition that takes nothing lags behind the others, with a follower of its own (`lagging.rs`); its bound
//! in bytes is its own, and the others go on.
//!
//! Read marks (`chat.receipts`) and account events (`users.events`) are relayed to the user concerned.

mod commit;
mod emit;
mod error;
mod follow;
mod held;
mod hold;
mod lagging;
mod metrics;
mod outbox;
mod pace;
mod parked;
mod partition;
mod place;
mod position;
mod reach;
mod relay;
mod unpark;

use std::pin::pin;
use std::sync::Arc;

use domain::RULES_NEWEST;
use eventlog::consume::{BoxError, consume};
use eventlog::{Assigned, Committer, SharedLog, promises};
use events::Codec;
use events::topics::{DELIVERIES, GROUP_FANOUT, MESSAGES, RECEIPTS, USERS, spec_of};
use host::Entropy;
use runtime::{Given, Readiness, insist};
use store::{SharedStore, StoreError};
use tokio_util::sync::CancellationToken;

pub use error::FanoutError;
pub use lagging::LAGGING_MAX;
pub use metrics::FanoutMetrics;
pub use outbox::Rooms;
pub use parked::{PARKED_MAX, QUEUED_MAX};

/// What it reads, and where deliveries go.
const TOPICS: [&str; 4] = [MESSAGES, RECEIPTS, USERS, DELIVERIES];

/// What the consumer works with.
#[derive(Clone)]
pub struct Deps {
    /// Where events come from and deliveries go; it must not give a record up (no delivery timeout).
    pub log: SharedLog,
    /// Where facts are read.
    pub store: SharedStore,
    /// Reads and writes records.
    pub codec: Codec,
    /// For jitter.
    pub entropy: Entropy,
    /// Counters.
    pub metrics: FanoutMetrics,
    /// The newest rules that this program judges by: [`RULES_NEWEST`], or older to act as an older program in a test.
    pub rules_newest: u32,
    /// Events that all parked conversations of a partition keep in memory: [`QUEUED_MAX`], or few in a test.
    pub queued_max: usize,
    /// The bytes in flight to each delivery partition.
    pub rooms: Arc<Rooms>,
}

impl Deps {
    /// The consumer over that log and store, with the newest rules.
    #[must_use]
    pub fn new(log: SharedLog, store: SharedStore, codec: Codec, entropy: Entropy, metrics: FanoutMetrics) -> Self {
        let (rules_newest, queued_max) = (RULES_NEWEST, QUEUED_MAX);
        let rooms = Arc::new(Rooms::new(spec_of(DELIVERIES).partitions));
        Self { log, store, codec, entropy, metrics, rules_newest, queued_max, rooms }
    }
}

/// Consumes until `shutdown`: every partition that the group gives this process. When another incarnation of the store
/// becomes current, it begins again with that one, from the group's commit.
///
/// # Errors
/// When it cannot go on: the group has no commit, a topic is not the one it was, or the log or the store is broken.
pub async fn run(deps: Deps, readiness: Readiness, shutdown: CancellationToken) -> Result<(), BoxError> {
    let condition = readiness.condition("fanout", "the topics were not looked at yet");
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
            tracing::info!("the fan-out begins again with the current incarnation");
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
                Box::pin(relay::run(deps, assigned, committer, stop))
            };
            task
        })
    };
    let mut consuming =
        pin!(consume(&deps.log, GROUP_FANOUT, &[MESSAGES, RECEIPTS, USERS], work, &deps.entropy, stop.clone()));
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
