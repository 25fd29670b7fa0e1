//! Commits that only show the lag. Storage itself resumes from `applied`, so nothing waits for them, and none is made
//! before `applied` is known.

use std::convert::Infallible;
use std::time::Duration;

use eventlog::{Commit, Committer, TopicPartition};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the progress of a partition is committed.
const COMMIT_EVERY: Duration = Duration::from_secs(60);
/// How long the last commit may take: the partition's next owner waits for it.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Commits the progress of the partition, now and every minute. Must be polled beside its work.
pub(crate) async fn commit_regularly(
    at: &TopicPartition,
    committer: &dyn Committer,
    next: watch::Receiver<u64>,
) -> Infallible {
    let mut ticks = interval(COMMIT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = *next.borrow();
        commit(at, committer, now).await;
    }
}

/// Commits once more, at the end of the work.
pub(crate) async fn commit_last(at: &TopicPartition, committer: &dyn Committer, next: u64) {
    if timeout(LAST_WAIT, commit(at, committer, next)).await.is_err() {
        tracing::info!(partition = %at, wait = ?LAST_WAIT, "lag not committed in time");
    }
}

async fn commit(at: &TopicPartition, committer: &dyn Committer, next: u64) {
    let commit = Commit { next, metadata: String::new() };
    if let Err(error) = committer.commit(&[(at.clone(), commit)]).await {
        tracing::info!(partition = %at, %error, "lag not committed");
    }
}
