//! Replays the log into the store: the plan, and its execution.
//!
//! Rows have their event's seq as timestamp, so a replay over a full store changes nothing and may run beside a live
//! storage consumer. To build rows in a new incarnation, see [`crate::rebuild`]. A replay does not involve the
//! fan-out, so devices get nothing.

use std::fmt;
use std::sync::Arc;

use environment::Entropy;
use eventlog::SharedLog;
use events::Codec;
use events::topics::{MESSAGES, RECEIPTS, STORAGE_SOURCES, spec_of};
use storage::{ConsumerError, Deps, Replayed, StorageError, StorageMetrics};
use store::{SharedStore, Source};
use tokio_util::sync::CancellationToken;

use crate::OpsError;

/// What to replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Everything that storage reads.
    FromStart,
    /// One partition of `chat.messages` from an offset on.
    From {
        /// The partition.
        partition: u32,
        /// The first offset.
        offset: u64,
    },
}

/// A range of a source partition: `from..to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The partition.
    pub source: Source,
    /// The first offset.
    pub from: u64,
    /// The offset after the last one: the present end of the log.
    pub to: u64,
    /// The last offset that is applied in the target incarnation.
    pub applied: Option<u64>,
}

impl Range {
    /// The number of offsets in the range; there may be fewer records.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// The number of offsets in the range that storage has not applied yet.
    #[must_use]
    pub fn ahead(&self) -> u64 {
        self.to.saturating_sub(self.applied.map_or(0, |applied| applied + 1).max(self.from))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source { topic, partition } = self.source;
        let (records, ahead) = (self.records(), self.ahead());
        write!(f, "{topic}/{partition}: {records} records ({}..{}), ", self.from, self.to)?;
        match (records, ahead) {
            (0, _) => write!(f, "nothing to do"),
            (_, 0) => write!(f, "all applied before"),
            _ => write!(f, "{ahead} of them not applied yet"),
        }
    }
}

/// Finds the ranges, each up to the present end of the log.
///
/// # Errors
/// When the log or the store cannot be read, the log is not the one that the store has applied, or the range does not
/// exist (trimmed, or beyond the end).
pub async fn plan(log: &SharedLog, store: &SharedStore, selection: Selection) -> Result<Vec<Range>, OpsError> {
    let sources: Vec<Source> = match selection {
        Selection::FromStart => all_sources().collect(),
        Selection::From { partition, .. } if partition >= spec_of(MESSAGES).partitions => {
            return Err(OpsError::Usage(format!("{MESSAGES} has no partition {partition}")));
        }
        Selection::From { partition, .. } => vec![Source { topic: MESSAGES, partition }],
    };
    check_log(log, store).await?;
    let mut ranges = Vec::new();
    for source in sources {
        let marks = log.watermarks(source.topic, source.partition).await?;
        let from = match selection {
            Selection::FromStart => 0,
            Selection::From { offset, .. } => offset,
        };
        let at = format!("{}/{}", source.topic, source.partition);
        if from < marks.low {
            return Err(trimmed(source, marks.low));
        }
        if from > marks.next {
            return Err(OpsError::Usage(format!("{at} ends at offset {}, before {from}", marks.next)));
        }
        let applied = store.applied(source).await?.map(|applied| applied.seq.offset());
        if from > applied.map_or(0, |applied| applied + 1) {
            let applied = applied.map_or_else(|| "nothing".to_owned(), |applied| format!("offsets up to {applied}"));
            return Err(OpsError::Usage(format!("{at}: storage has applied {applied}: from {from} on leaves a gap")));
        }
        ranges.push(Range { source, from, to: marks.next, applied });
    }
    Ok(ranges)
}

/// The error for records that were trimmed although rows have to be built from them.
pub(crate) fn trimmed(source: Source, low: u64) -> OpsError {
    OpsError::Refused(vec![format!(
        "{}/{} begins at offset {low}: what came before was trimmed, and rows cannot be built again without it",
        source.topic, source.partition
    )])
}

/// Every partition that storage reads.
pub(crate) fn all_sources() -> impl Iterator<Item = Source> {
    let of_topic = |topic| (0..spec_of(topic).partitions).map(move |partition| Source { topic, partition });
    STORAGE_SOURCES.into_iter().flat_map(of_topic)
}

/// Refuses a log that is not the one that the store has applied: rows of another cluster would overwrite the
/// existing ones. Every source is checked, whatever is to be replayed, because a partition without new records
/// cannot show a difference.
pub(crate) async fn check_log(log: &SharedLog, store: &SharedStore) -> Result<(), OpsError> {
    let mut faults = Vec::new();
    for Source { topic, partition } in all_sources() {
        // Read before the log's end, because a live consumer may apply more meanwhile.
        let Some(applied) = store.applied(Source { topic, partition }).await? else { continue };
        let (at, offset) = (format!("{topic}/{partition}"), applied.seq.offset());
        let next = log.watermarks(topic, partition).await?.next;
        if offset >= next {
            faults.push(format!("{at} ends at offset {next}, but the store has applied its offset {offset}"));
        } else if !eventlog::stands(&**log, topic, partition, offset, applied.fingerprint).await? {
            faults.push(format!("{at}: the record at offset {offset} is not the one that the store has applied"));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    faults.push("the log is another cluster's, was made anew or was cut short: nothing was written".to_owned());
    Err(OpsError::Refused(faults))
}

/// Applies the ranges, one after the other, calling `progress` after each batch.
///
/// # Errors
/// When the log or the store fails for good, or `stop` is cancelled: what was done so far stays done, and doing it
/// again is harmless.
pub async fn run(
    log: &SharedLog,
    store: &SharedStore,
    codec: &Codec,
    entropy: &Entropy,
    ranges: &[Range],
    stop: &CancellationToken,
    mut progress: impl FnMut(&Range, Replayed) + Send,
) -> Result<(), OpsError> {
    let metrics = StorageMetrics::new(&process::Metrics::new());
    let deps = Arc::new(Deps::new(log.clone(), store.clone(), codec.clone(), entropy.clone(), metrics));
    for range in ranges.iter().filter(|range| range.records() > 0) {
        let (deps, partition, stop) = (Arc::clone(&deps), range.source.partition, stop.clone());
        let tell = |done| progress(range, done);
        let replayed = match range.source.topic {
            MESSAGES => storage::replay(deps, partition, range.from, range.to, stop, tell).await,
            RECEIPTS => storage::replay_marks(deps, partition, range.from, range.to, stop, tell).await,
            other => return Err(OpsError::Usage(format!("storage keeps nothing of {other}"))),
        };
        replayed.map_err(sorted)?;
    }
    Ok(())
}

fn sorted(error: StorageError) -> OpsError {
    match error {
        StorageError::Gap { .. } => OpsError::Refused(vec![error.to_string()]),
        StorageError::Consumer(ConsumerError::Log(error)) => OpsError::Log(error),
        StorageError::Consumer(ConsumerError::Store(error)) => OpsError::Store(error),
        StorageError::Consumer(error @ ConsumerError::NotTheLog(..)) => OpsError::Refused(vec![error.to_string()]),
        StorageError::Consumer(ConsumerError::Stopped) => OpsError::stopped(),
        StorageError::Consumer(error @ (ConsumerError::Seq(_) | ConsumerError::NoRoute(_))) => {
            OpsError::Failed(error.to_string())
        }
    }
}
