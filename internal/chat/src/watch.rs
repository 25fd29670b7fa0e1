//! Watches the log and the store: readiness reports them, and a store handle that is left behind ends the process.

use std::convert::Infallible;
use std::time::Duration;

use environment::ErrorKind;
use eventlog::promises;
use events::topics;
use process::{Condition, Tasks};
use store::{SharedStore, StoreError};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::Deps;

/// The topics that commands and read marks are written to.
const TOPICS: [&str; 2] = [topics::MESSAGES, topics::RECEIPTS];
/// How often the store is checked.
const EVERY: Duration = Duration::from_secs(5);

/// Starts watching.
pub(crate) fn start(deps: &Deps, tasks: &mut Tasks) {
    let readiness = &deps.serving.readiness;
    let (log, codec) = (deps.log.clone(), deps.codec.clone());
    let condition = readiness.condition("chat: log", "not asked yet");
    tasks.spawn("watch on the log", |token| async move {
        let tell = |fault| condition.tell(fault);
        token.run_until_cancelled(promises::watch(&*log, &TOPICS, &codec, tell)).await;
        Ok::<_, Infallible>(())
    });
    let (store, condition) = (deps.store.clone(), readiness.condition("chat: store", "not asked yet"));
    tasks.spawn("watch on the store", |token| watch_store(store, condition, token));
}

/// Fails when the current incarnation is not the handle's any more: the rows that this process reads are no longer
/// those that are written. A handle that follows is never behind.
async fn watch_store(store: SharedStore, condition: Condition, token: CancellationToken) -> Result<(), StoreError> {
    let mut ticks = ticks();
    while token.run_until_cancelled(ticks.tick()).await.is_some() {
        match token.run_until_cancelled(store::still_current(&*store)).await {
            None => break,
            Some(Ok(())) => condition.ready(),
            Some(Err(error)) if error.kind() == ErrorKind::Superseded => return Err(error),
            Some(Err(error)) => condition.not_ready(error.to_string()),
        }
    }
    Ok(())
}

fn ticks() -> Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
