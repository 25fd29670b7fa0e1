//! Delivery partitions that accept no records for a while: each of them lags behind the others, with a follower of its
//! own.
//!
//! A *follower* is a second reader of the same source partition that judges the same events and delivers to that one
//! delivery partition only, as fast as it takes records. So a delivery partition without a leader stops no other one,
//! however many events come meanwhile, and nothing of what waits for it is kept in memory: it is read again. The commit
//! goes on and carries, for each that lags, the offset from which its deliveries may be missing; whoever owns the source
//! partition next begins followers there. A follower ends when it has caught up; the intake pauses for a moment when one
//! is close, since under steady traffic it would never be level with it.
//!
//! Held conversations are not the followers' business: a follower passes over the events that its loop has skipped, and
//! the loop re-drives held conversations only while no partition lags. So a hold, which may last for days, keeps no
//! follower from catching up.
//!
//! The devices' filter drops what a follower delivers again: it delivers each conversation in order, from an offset at
//! or before the first event that is missing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use consumer::BATCH_RECORDS_MAX;
use eventlog::{Commit, CommitError, Committer, TopicPartition};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::FanoutError;
use crate::position::Position;

/// Delivery partitions that may lag at once, for one source partition: each costs a reader and the judging of every
/// event once more. When one more fails, the source partition's intake waits for it.
pub const LAGGING_MAX: usize = 4;

/// A follower this close to the intake, in offsets, is let catch up: what it judges in a part of a second.
const CLOSE: u64 = 4 * BATCH_RECORDS_MAX as u64;
/// The longest that the intake pauses for that.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long the intake does not pause again when that was not enough.
const NO_PAUSE_FOR: Duration = Duration::from_secs(30);
/// How often a follower reports how far it has come; it does not commit anything.
pub(crate) const REPORT_EVERY: Duration = Duration::from_millis(50);

/// The work of a follower, which only ends by failing.
pub(crate) type Following = Pin<Box<dyn Future<Output = Result<(), FanoutError>> + Send>>;

/// One delivery partition that lags.
#[derive(Debug)]
struct Lag {
    /// The follower delivers every event from this offset on.
    from: u64,
    /// Up to this offset, the follower's deliveries are acknowledged.
    reached: watch::Receiver<u64>,
    /// The same when it was last looked at: one that goes no further is not waited for.
    reached_before: u64,
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
    /// The end of the pause in which a follower that is close catches up.
    pause_until: Option<Instant>,
    /// Until this time, the intake does not pause.
    no_pause_until: Option<Instant>,
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
    pub(crate) fn begin(&mut self, partition: u32, from: u64, reached: watch::Receiver<u64>, following: Following) {
        let task = tokio::spawn(following);
        let reached_before = *reached.borrow();
        self.all.insert(partition, Lag { from, reached, reached_before, task });
    }

    /// The partitions whose followers have come to `intake`.
    pub(crate) fn caught_up(&self, intake: u64) -> Vec<u32> {
        self.all.iter().filter(|(_, lag)| lag.reached() >= intake).map(|(partition, _)| *partition).collect()
    }

    /// Pauses the intake, at `intake`, if a follower is close and goes on; ends a pause that took too long.
    pub(crate) fn pause_if_close(&mut self, intake: u64) {
        let now = Instant::now();
        if self.pause_until.take_if(|until| *until <= now).is_some() {
            self.no_pause_until = Some(now + NO_PAUSE_FOR);
        }
        let may = self.pause_until.is_none() && self.no_pause_until.is_none_or(|until| until <= now);
        for lag in self.all.values_mut() {
            let reached = lag.reached();
            let goes_on = std::mem::replace(&mut lag.reached_before, reached) < reached;
            if may && goes_on && reached.saturating_add(CLOSE) >= intake {
                self.pause_until = Some(now + PAUSE_MAX);
            }
        }
    }

    /// Whether the intake pauses.
    pub(crate) fn pauses(&self) -> bool {
        self.pause_until.is_some()
    }

    /// Completes when a follower has come to `intake`, where the intake pauses, or when the pause took too long; pending
    /// while there is no pause.
    pub(crate) fn pause_over(&self, intake: u64) -> impl Future<Output = ()> + Send + use<> {
        let pause = self.pause_until.map(|until| {
            let close = self.all.values().map(|lag| arrival(lag.reached.clone(), intake));
            (until, close.collect::<FuturesUnordered<_>>())
        });
        async move {
            let Some((until, mut arrivals)) = pause else { return std::future::pending().await };
            let _ = timeout_at(until, arrivals.next()).await;
        }
    }

    /// Ends a follower, and waits for its end.
    pub(crate) async fn end(&mut self, partition: u32) {
        self.pause_until = None;
        if let Some(mut lag) = self.all.remove(&partition) {
            // One that has failed is at its end, and was asked for it already.
            if !lag.task.is_finished() {
                lag.task.abort();
                let _ = (&mut lag.task).await;
            }
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
        *self.reached.borrow()
    }
}

async fn arrival(mut reached: watch::Receiver<u64>, intake: u64) {
    if reached.wait_for(|reached| *reached >= intake).await.is_err() {
        // The follower has failed, which `Lagging::failed` tells.
        std::future::pending().await
    }
}

/// Takes the commits of a follower, for the commit of the loop that it belongs to.
#[derive(Debug)]
pub(crate) struct Reached(pub(crate) watch::Sender<u64>);

#[async_trait]
impl Committer for Reached {
    async fn commit(&self, commits: &[(TopicPartition, Commit)]) -> Result<(), CommitError> {
        for (_, commit) in commits {
            let position = Position::from_commit(commit).map_err(|reason| CommitError::Broken(reason.into()))?;
            let first = position.parked.iter().map(|(_, offset)| *offset).min().unwrap_or(position.next);
            self.0.send_replace(first.min(position.next));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_intake_pauses_only_for_a_follower_that_is_close_and_goes_on() {
        let (tell, reached) = watch::channel(10);
        let (mut lagging, intake) = (Lagging::default(), 20 + CLOSE);
        lagging.begin(3, 10, reached, Box::pin(std::future::pending()));
        let mut pauses_at = |offset| {
            tell.send_replace(offset);
            lagging.pause_if_close(intake);
            lagging.pauses()
        };
        assert!(!pauses_at(19), "it is too far away");
        assert!(pauses_at(20));
        let begun = Instant::now();
        lagging.pause_over(intake).await;
        assert_eq!(begun.elapsed(), PAUSE_MAX, "it does not come");
        let mut pauses_at = |offset| {
            tell.send_replace(offset);
            lagging.pause_if_close(intake);
            lagging.pauses()
        };
        assert!(!pauses_at(21), "that was not long ago");
        sleep(NO_PAUSE_FOR).await;
        assert!(!pauses_at(21), "it goes no further");
        assert!(pauses_at(22));
        let (begun, over) = (Instant::now(), lagging.pause_over(intake));
        tell.send_replace(intake);
        over.await;
        assert_eq!((begun.elapsed(), lagging.caught_up(intake)), (Duration::ZERO, vec![3]));
        lagging.end(3).await;
        assert!(!lagging.pauses() && lagging.is_empty());
    }
}
