//! Looks up records by position, in bounded time.
//!
//! A reader waits for the next record without a limit, which is right only at a log's end. A position before the
//! end can be empty, too: a transactional producer of another system leaves control records, which take offsets
//! and cannot be read. So a lookup before the end must have a time limit.

use std::time::Duration;

use domain::Fingerprint;
use tokio::time::timeout;

use crate::{EventLog, LogError, PartitionReader, Record};

/// The longest that a log may take to return a record before its end.
pub const RECORD_WITHIN: Duration = Duration::from_secs(10);
/// The most offsets that [`last_record`] goes back from the end: each transaction of such a producer leaves one.
const BACK_MAX: u64 = 16;
/// How long [`last_record`] waits for a later record than the one it has found.
const LATER_WITHIN: Duration = Duration::from_secs(1);

/// No record came. The cause may be the log, or a position without a record.
#[derive(Debug, thiserror::Error)]
#[error(
    "it gave no record within {RECORD_WITHIN:?}; if this stays, another producer's control record stands there, and the \
     next append ends it"
)]
struct NoRecord;

/// The next records of a reader whose offset lies before the log's end, as [`PartitionReader::next`].
///
/// # Errors
/// As there, and [`LogError::Transient`] when no record comes within [`RECORD_WITHIN`].
pub async fn next_before_end(reader: &mut dyn PartitionReader, records_max: usize) -> Result<Vec<Record>, LogError> {
    let next = timeout(RECORD_WITHIN, reader.next(records_max)).await;
    next.unwrap_or_else(|_| Err(LogError::Transient(NoRecord.into())))
}

/// The record at exactly `offset`; `None` when it does not exist (trimmed, or never written).
///
/// # Errors
/// When the log cannot be read, or returns no record within [`RECORD_WITHIN`].
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

/// Whether the record at `offset` still exists and has that fingerprint. Then all records before it are unchanged,
/// too: a log that is truncated or re-created loses its end first.
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
    Ok(record.is_some_and(|record| record.has(fingerprint)))
}

/// The last record as of this call, even if some offsets before the end are empty (at most 15); `None`
/// when the partition is empty. On a slow log there may be a later record than the one returned.
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
