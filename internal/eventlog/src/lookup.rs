//! Looking records up by their position, in bounded time.
//!
//! A reader waits for the next record for as long as it takes, which is right at a log's end and nowhere else. A position
//! before the end can be empty all the same: a foreign transactional producer leaves a control record there, which
//! counts as an offset and is nobody's to read. So whoever wants what stands before an end must not wait for ever.

use std::time::Duration;

use domain::Fingerprint;
use tokio::time::timeout;

use crate::{EventLog, LogError, PartitionReader, Record};

/// The longest that a log may take to give a record that stands before its end.
pub const RECORD_WITHIN: Duration = Duration::from_secs(10);
/// Offsets that [`last_record`] goes back from the end, at most: each transaction of a foreign producer leaves one.
const BACK_MAX: u64 = 16;
/// How long [`last_record`] waits for a later record than it has.
const LATER_WITHIN: Duration = Duration::from_secs(1);

/// Nothing came. That may be the log's fault as well as the position's.
#[derive(Debug, thiserror::Error)]
#[error(
    "it gave no record within {RECORD_WITHIN:?}; if this stays, another producer's control record stands there, and the \
     next append ends it"
)]
struct NoRecord;

/// The next records of a reader that stands before the log's end, as [`PartitionReader::next`].
///
/// # Errors
/// As there, and [`LogError::Transient`] when nothing comes within [`RECORD_WITHIN`].
pub async fn next_before_end(reader: &mut dyn PartitionReader, records_max: usize) -> Result<Vec<Record>, LogError> {
    let next = timeout(RECORD_WITHIN, reader.next(records_max)).await;
    next.unwrap_or_else(|_| Err(LogError::Transient(NoRecord.into())))
}

/// The record at exactly `offset`; `None` when it is not there (trimmed, or never written).
///
/// # Errors
/// When the log cannot be read, or gives nothing within [`RECORD_WITHIN`].
pub async fn record_at(
    log: &dyn EventLog,
    topic: &str,
    partition: u32,
    offset: u64,
) -> Result<Option<Record>, LogError> {
    let marks = log.watermarks(topic, partition).await?;
    if offset < marks.low || offset >= marks.next {
        return Ok(None);
    }
    let mut reader = log.reader(topic, partition, offset).await?;
    match next_before_end(&mut *reader, 1).await {
        Ok(records) => Ok(records.into_iter().next().filter(|record| record.offset == offset)),
        Err(LogError::OutOfRange { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the record at `offset` is there and is the one of that fingerprint: then everything before it is what it was
/// too, because a log that is cut short or made anew loses its end first.
///
/// # Errors
/// As [`record_at`].
pub async fn stands(
    log: &dyn EventLog,
    topic: &str,
    partition: u32,
    offset: u64,
    fingerprint: Fingerprint,
) -> Result<bool, LogError> {
    let record = record_at(log, topic, partition, offset).await?;
    Ok(record.is_some_and(|record| record.fingerprint() == fingerprint))
}

/// The last record as of this call, also where the offsets before the end are empty, if there are not too many; `None`
/// when the partition is empty. A log that is slow may have a later one.
///
/// # Errors
/// As [`record_at`].
pub async fn last_record(log: &dyn EventLog, topic: &str, partition: u32) -> Result<Option<Record>, LogError> {
    let marks = log.watermarks(topic, partition).await?;
    let (from, mut last) = (marks.next.saturating_sub(BACK_MAX).max(marks.low), None::<Record>);
    if from == marks.next {
        return Ok(None);
    }
    let mut reader = log.reader(topic, partition, from).await?;
    while last.as_ref().is_none_or(|last| last.offset + 1 < marks.next) {
        let next = next_before_end(&mut *reader, BACK_MAX as usize);
        let records = match &last {
            None => next.await?,
            Some(_) => match timeout(LATER_WITHIN, next).await {
                Ok(records) => records?,
                Err(_) => break,
            },
        };
        let later = records.last().is_some_and(|record| record.offset >= marks.next);
        last = records.into_iter().rfind(|record| record.offset < marks.next).or(last);
        if later {
            break;
        }
    }
    Ok(last)
}
