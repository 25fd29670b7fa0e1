//! Watches what the service depends on: readiness tells, and an emptied store ends the process.

use std::time::Duration;

use eventlog::{LogError, SharedLog};
use events::topics;
use runtime::{Condition, TaskError, Tasks};
use store::{SharedStore, StoreError};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::Deps;

/// How often the log and the store are asked.
const EVERY: Duration = Duration::from_secs(5);

/// Starts the watching.
pub(crate) fn start(deps: &Deps, tasks: &mut Tasks) {
    let readiness = &deps.serving.readiness;
    let (log, condition) = (deps.log.clone(), readiness.condition("chat: log", "not asked yet"));
    tasks.spawn("watch on the log", |token| watch_log(log, condition, token));
    let (store, condition) = (deps.store.clone(), readiness.condition("chat: store", "not asked yet"));
    tasks.spawn("watch on the store", |token| watch_store(store, condition, token));
}

async fn watch_log(log: SharedLog, condition: Condition, token: CancellationToken) -> Result<(), TaskError> {
    let mut ticks = ticks();
    while token.run_until_cancelled(ticks.tick()).await.is_some() {
        match token.run_until_cancelled(log_faults(&log)).await {
            None => break,
            Some(Ok(faults)) if faults.is_empty() => condition.ready(),
            Some(Ok(faults)) => condition.not_ready(faults.join("; ")),
            Some(Err(error)) => condition.not_ready(error.to_string()),
        }
    }
    Ok(())
}

/// What keeps the topics from keeping their promises, in words.
async fn log_faults(log: &SharedLog) -> Result<Vec<String>, LogError> {
    let mut faults = Vec::new();
    for topic in [topics::MESSAGES, topics::RECEIPTS] {
        match log.describe(topics::spec_of(topic)).await? {
            Some(found) => faults.extend(found.faults),
            None => faults.push(format!("there is no topic {topic}: run 'klatschctl topics apply'")),
        }
    }
    Ok(faults)
}

/// Fails when the store was emptied: the tables that this process reads are no longer the ones that are written.
async fn watch_store(store: SharedStore, condition: Condition, token: CancellationToken) -> Result<(), StoreError> {
    let mut ticks = ticks();
    let pinned = store.incarnation();
    while token.run_until_cancelled(ticks.tick()).await.is_some() {
        match token.run_until_cancelled(store.current_incarnation()).await {
            None => break,
            Some(Ok(found)) if found == pinned => condition.ready(),
            Some(Ok(found)) => return Err(StoreError::Incarnation { pinned, found }),
            Some(Err(error @ StoreError::Incarnation { .. })) => return Err(error),
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
