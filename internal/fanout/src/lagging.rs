//! Delivery partitions that accept no records for a while: each of them lags behind the others, with a follower of its
//! own.
//!
//! A *follower* is a second reader of the same source partition that judges the same events and delivers to that one
//! delivery partition only, as fast as it takes records. So a delivery partition without a leader stops no other one,
//! however many events come meanwhile, and nothing of what waits for it is kept in memory: it is read again. The commit
//! goes on and carries, for each that lags, the offset from which its deliveries may be missing; whoever owns the source
//! partition next begins followers there. A follower ends when it has caught up.
//!
//! The devices' filter drops what a follower delivers again: it delivers each conversation in order, from an offset at
//! or before the first event that is missing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use eventlog::{Commit, CommitError, Committer, TopicPartition};
use tokio::task::JoinHandle;

use crate::FanoutError;
use crate::position::Position;

/// Delivery partitions that may lag at once, for one source partition: each costs a reader and the judging of every
/// event once more. When one more fails, the source partition's intake waits for it.
pub const LAGGING_MAX: usize = 4;

/// The work of a follower, which only ends by failing.
pub(crate) type Following = Pin<Box<dyn Future<Output = Result<(), FanoutError>> + Send>>;

/// One delivery partition that lags.
#[derive(Debug)]
struct Lag {
    /// The follower delivers every event from this offset on.
    from: u64,
    /// Up to this offset, the follower's deliveries are acknowledged.
    reached: Arc<AtomicU64>,
    task: JoinHandle<Result<(), FanoutError>>,
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The delivery partitions that lag behind one source partition.
#[derive(Debug, Default)]
pub(crate) struct Lagging {
    all: BTreeMap<u32, Lag>,
}

impl Lagging {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.all.len() < LAGGING_MAX
    }

    pub(crate) fn contains(&self, partition: u32) -> bool {
        self.all.contains_key(&partition)
    }

    /// Whether that partition's follower delivers the records of `source`.
    pub(crate) fn covers(&self, partition: u32, source: u64) -> bool {
        self.all.get(&partition).is_some_and(|lag| lag.from <= source)
    }

    /// The offset from which deliveries to that partition may be missing.
    pub(crate) fn reached(&self, partition: u32) -> Option<u64> {
        self.all.get(&partition).map(Lag::reached)
    }

    /// The same for all lagging partitions.
    pub(crate) fn positions(&self) -> Vec<(u32, u64)> {
        self.all.iter().map(|(partition, lag)| (*partition, lag.reached())).collect()
    }

    /// Whether a commit of those positions covers all deliveries that are missing.
    pub(crate) fn is_in(&self, committed: &[(u32, u64)]) -> bool {
        let says =
            |partition: u32, reached: u64| committed.iter().any(|(p, offset)| *p == partition && *offset <= reached);
        self.all.iter().all(|(partition, lag)| says(*partition, lag.reached()))
    }

    /// Starts a follower that delivers from `from` on; `reached` is what it commits to.
    pub(crate) fn begin(&mut self, partition: u32, from: u64, reached: Arc<AtomicU64>, following: Following) {
        let task = tokio::spawn(following);
        self.all.insert(partition, Lag { from, reached, task });
    }

    /// The partitions whose followers have come to `intake`.
    pub(crate) fn caught_up(&self, intake: u64) -> Vec<u32> {
        self.all.iter().filter(|(_, lag)| lag.reached() >= intake).map(|(partition, _)| *partition).collect()
    }

    /// Ends a follower, and waits for its end.
    pub(crate) async fn end(&mut self, partition: u32) {
        if let Some(mut lag) = self.all.remove(&partition) {
            lag.task.abort();
            let _ = (&mut lag.task).await;
        }
    }

    /// Ends all followers.
    pub(crate) async fn end_all(&mut self) {
        for partition in self.all.keys().copied().collect::<Vec<_>>() {
            self.end(partition).await;
        }
    }

    /// Why a follower has failed; pending while none has. Cancel-safe.
    pub(crate) async fn failed(&mut self) -> FanoutError {
        poll_fn(|context| {
            for lag in self.all.values_mut() {
                if let Poll::Ready(ended) = Pin::new(&mut lag.task).poll(context) {
                    return Poll::Ready(match ended {
                        Ok(Err(error)) => error,
                        Ok(Ok(())) => FanoutError::STOPPED,
                        Err(_) => FanoutError::Follower,
                    });
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Lag {
    fn reached(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }
}

/// Takes the commits of a follower, for the commit of the loop that it belongs to.
#[derive(Debug)]
pub(crate) struct Reached(pub(crate) Arc<AtomicU64>);

#[async_trait]
impl Committer for Reached {
    async fn commit(&self, commits: &[(TopicPartition, Commit)]) -> Result<(), CommitError> {
        for (_, commit) in commits {
            let position = Position::from_commit(commit).map_err(|reason| CommitError::Broken(reason.into()))?;
            let first = position.parked.iter().map(|(_, offset)| *offset).min().unwrap_or(position.next);
            self.0.store(first.min(position.next), Ordering::Release);
        }
        Ok(())
    }
}
