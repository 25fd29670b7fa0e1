//! Builds the log-derived rows in a new incarnation beside the served rows, compares them, and switches.
//!
//! Served rows are not touched before the switch, which is one compare-and-set. If the rebuild is killed before that,
//! the served rows are unchanged, and the next run continues with the same tables, from their own `applied + 1`. After
//! the switch the earlier rows stay as storage left them, and switching back works the same way: they are brought up,
//! then switched to.

mod compare;
mod row;

use environment::Entropy;
use eventlog::SharedLog;
use events::Codec;
use events::topics::{MESSAGES, spec_of};
use storage::Replayed;
use store::{Consumer, Incarnations, SharedStore, Stage, Store};
use tokio_util::sync::CancellationToken;

use crate::OpsError;
use crate::holds::HOLDS_PER_PARTITION_MAX;
use crate::replay::{self, Range};

pub use compare::{Compared, compare};

/// A round that found at most so many records to apply is near enough to the served rows to switch: programs wait
/// for the remaining records, which storage applies within moments.
const NEAR_RECORDS: u64 = 1000;
/// The same for a round that is more than half as large as the one before: the log then grows about as fast as rows
/// are built here, and further rounds come no nearer. Storage, which applies the remaining records after the switch,
/// writes in larger batches.
const NEAR_BESIDE_A_LOAD_RECORDS: u64 = 20_000;
/// The number of holds that are listed when the new rows have more of them.
const HOLDS_NAMED: usize = 20;

/// The engines that a rebuild uses.
#[derive(Clone)]
pub struct Engines {
    /// The log.
    pub log: SharedLog,
    /// A handle to the store; its incarnation does not matter.
    pub store: SharedStore,
    /// Decodes records.
    pub codec: Codec,
    /// Source of jitter.
    pub entropy: Entropy,
}

/// Two incarnations: the one that is served, and the one that is to be served.
pub struct Pair {
    /// A handle pinned to the current incarnation.
    pub served: SharedStore,
    /// A handle pinned to the other one.
    pub beside: SharedStore,
}

/// The progress of a round of [`Pair::bring_up`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records that were applied in this round.
    pub done: u64,
    /// All records of this round.
    pub of: u64,
}

/// The incarnation that a rebuild continues with: one that was begun and was never current. `None`: a new one must
/// be made.
#[must_use]
pub fn begun(there: &Incarnations) -> Option<u32> {
    there.beside.iter().rev().find(|beside| beside.stage == Stage::Building).map(|beside| beside.number)
}

/// The incarnation to switch back to: the newest that was current and is not now.
#[must_use]
pub fn before(there: &Incarnations) -> Option<u32> {
    there.beside.iter().rev().find(|beside| beside.stage == Stage::Served).map(|beside| beside.number)
}

impl Pair {
    /// Opens both incarnations; `beside` must not be the current one.
    ///
    /// # Errors
    /// When the store cannot be read, or there is no such incarnation.
    pub async fn open(store: &dyn Store, beside: u32) -> Result<Self, OpsError> {
        let there = store.incarnations().await?;
        if there.current == beside {
            return Err(OpsError::Usage(format!("incarnation {beside} is the current one already")));
        }
        Ok(Self { served: store.at(there.current).await?, beside: store.at(beside).await? })
    }

    /// The ranges of the log that are applied to the served rows and not yet to those beside.
    ///
    /// # Errors
    /// When log or store cannot be read, the log is not the one that either incarnation has applied, or records were
    /// trimmed.
    pub async fn behind(&self, log: &SharedLog) -> Result<Vec<Range>, OpsError> {
        replay::check_log(log, &self.served).await?;
        replay::check_log(log, &self.beside).await?;
        self.ranges(log).await
    }

    async fn ranges(&self, log: &SharedLog) -> Result<Vec<Range>, OpsError> {
        let mut ranges = Vec::new();
        for source in replay::all_sources() {
            let applied = self.beside.applied(source).await?.map(|applied| applied.seq.offset());
            let from = applied.map_or(0, |offset| offset + 1);
            let to = self.served.applied(source).await?.map_or(0, |applied| applied.seq.offset() + 1);
            if from < to {
                let low = log.watermarks(source.topic, source.partition).await?.low;
                if from < low {
                    return Err(replay::trimmed(source, low));
                }
                ranges.push(Range { source, from, to, applied });
            }
        }
        Ok(ranges)
    }

    /// Applies to the rows beside what is applied to the served rows, in rounds, until a round was small, or was
    /// small enough and no longer shrinks by half. Calls `progress` after every batch. If it is killed, the next
    /// call continues.
    ///
    /// # Errors
    /// As [`Self::behind`], and when `stop` is cancelled.
    pub async fn bring_up(
        &self,
        engines: &Engines,
        stop: &CancellationToken,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<u64, OpsError> {
        let (mut ranges, mut applied, mut before) = (self.behind(&engines.log).await?, 0, None);
        loop {
            let of: u64 = ranges.iter().map(Range::records).sum();
            applied += self.round(engines, &ranges, stop, of, progress).await?;
            if is_near(of, before) {
                return Ok(applied);
            }
            before = Some(of);
            ranges = self.ranges(&engines.log).await?;
        }
    }

    async fn round(
        &self,
        engines: &Engines,
        ranges: &[Range],
        stop: &CancellationToken,
        of: u64,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<u64, OpsError> {
        let Engines { log, codec, entropy, .. } = engines;
        // Records of the ranges that are done, and of the present range.
        let (mut before, mut now) = (0, 0);
        let tell = |range: &Range, done: Replayed| {
            now = done.next - range.from;
            progress(Progress { done: before + now, of });
            if done.next >= range.to {
                before += std::mem::take(&mut now);
            }
        };
        replay::run(log, &self.beside, codec, entropy, ranges, stop, tell).await?;
        Ok(of)
    }

    /// Conversations that storage holds in the rows beside but not in the served rows, in words: a program that
    /// cannot judge an event must not build the rows that will be served.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn holds(&self) -> Result<Vec<String>, OpsError> {
        let mut more = Vec::new();
        for partition in 0..spec_of(MESSAGES).partitions {
            for (conversation, _) in
                self.beside.holds(Consumer::Storage, partition, None, HOLDS_PER_PARTITION_MAX).await?
            {
                let served = self.served.hold(Consumer::Storage, partition, conversation).await?;
                if !served.is_held() && more.len() < HOLDS_NAMED {
                    more.push(format!("{conversation} is held in incarnation {} only", self.beside.incarnation()));
                }
            }
        }
        Ok(more)
    }

    /// Brings the rows beside up once more and makes them the served ones, by a compare-and-set.
    ///
    /// It does not check how far each partition has come by then: every program waits before it uses the new rows
    /// until they have come as far as the old ones (see [`store::Following`]), and storage continues from their
    /// `applied + 1` at once.
    ///
    /// # Errors
    /// As [`Self::bring_up`], and when another incarnation became current meanwhile.
    pub async fn switch(&self, engines: &Engines, stop: &CancellationToken) -> Result<(), OpsError> {
        self.bring_up(engines, stop, &mut |_| {}).await?;
        let (from, to) = (self.served.incarnation(), self.beside.incarnation());
        if engines.store.switch_incarnation(from, to).await? {
            return Ok(());
        }
        Err(OpsError::Refused(vec![format!(
            "incarnation {from} is not the current one any more: nothing was switched"
        )]))
    }
}

/// Whether a round of so many records, after one of `before`, came near enough to the served rows to switch.
fn is_near(records: u64, before: Option<u64>) -> bool {
    let stalls = before.is_some_and(|before| records > before / 2);
    records <= NEAR_RECORDS || (stalls && records <= NEAR_BESIDE_A_LOAD_RECORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_end_when_they_are_small_or_a_load_keeps_them_from_shrinking() {
        let rounds = |all: &[u64]| {
            let before = std::iter::once(None).chain(all.iter().copied().map(Some));
            all.iter().zip(before).position(|(records, before)| is_near(*records, before)).map(|at| at + 1)
        };
        assert_eq!(rounds(&[800]), Some(1));
        assert_eq!(rounds(&[1_000_000, 30_000, 700]), Some(3));
        assert_eq!(rounds(&[16_143, 5_942, 4_140, 3_589]), Some(3), "a load as fast as the rebuild");
        assert_eq!(rounds(&[100_000, 90_000, 80_000]), None, "too far behind to switch");
    }
}
