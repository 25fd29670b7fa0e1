//! Reads up to a known end and retries transient failures: some seconds without a leader must not restart a long
//! task from its beginning.

use std::time::Duration;

use domain::Fingerprint;
use tokio::time::{Instant, sleep};

use crate::lookup::{last_record, next_before_end, stands};
use crate::{EventLog, LogError, PartitionReader, Record, TopicPartition};

/// How long reading retries without a record before it fails.
const GIVE_UP_AFTER: Duration = Duration::from_secs(180);
/// The first wait before a retry; it doubles with each further one. A single reader needs no jitter.
const AGAIN_BASE: Duration = Duration::from_millis(100);
/// The longest wait before a retry.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// The number of consecutive attempts without a record, while the last record before the end is readable, after
/// which the offsets up to the end count as empty.
const EMPTY_LOOKS: u32 = 2;

/// The reading cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum PatientError {
    /// The log cannot be read: for good, or for too long.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The last record that was read no longer exists: continuing would read another log.
    #[error("{0}: the record at offset {1} is not the one that was read: the topic was re-created or cut short")]
    NotTheLog(TopicPartition, u64),
}

/// No record came for [`GIVE_UP_AFTER`].
#[derive(Debug, thiserror::Error)]
#[error(
    "{at} gave nothing from offset {next} on for {GIVE_UP_AFTER:?}; what stands before is done: see to the partition's \
     leader, then begin again from there ({source})"
)]
struct GaveUp {
    at: TopicPartition,
    next: u64,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Reads one partition in order, and resumes after an interruption.
pub struct PatientReader<'a> {
    log: &'a dyn EventLog,
    at: TopicPartition,
    next: u64,
    /// The last known record of this log, by offset and fingerprint.
    proof: Option<(u64, Fingerprint)>,
    /// `None` before the first read, and after an interruption.
    reader: Option<Box<dyn PartitionReader>>,
}

impl<'a> PatientReader<'a> {
    /// Begins at `from`. `proof` is a record of this log, if one is known: after an interruption, reading only
    /// resumes if that record is unchanged.
    #[must_use]
    pub fn new(log: &'a dyn EventLog, at: TopicPartition, from: u64, proof: Option<(u64, Fingerprint)>) -> Self {
        Self { log, at, next: from, proof, reader: None }
    }

    /// The next records, at most `records_max`; the last of them may lie at or after `end`. `end` must not be
    /// beyond the log's end. Returns none when there are no more records before `end`. Cancel safe.
    ///
    /// # Errors
    /// Errors that a retry does not mend, and [`LogError::Transient`], with what to do, when no record comes for
    /// minutes.
    pub async fn next(&mut self, end: u64, records_max: usize) -> Result<Vec<Record>, PatientError> {
        let (begun, mut wait, mut empty) = (Instant::now(), AGAIN_BASE, 0);
        while self.next < end {
            let source = match self.attempt(records_max).await {
                Ok(records) => return Ok(records),
                Err(PatientError::Log(LogError::Transient(source))) => source,
                Err(error) => return Err(error),
            };
            // The offsets before the end may be empty: control records of another system's producer.
            let over = is_over(self.log, &self.at, self.next, end).await;
            empty = if matches!(over, Ok(true)) { empty + 1 } else { 0 };
            if empty == EMPTY_LOOKS {
                self.next = end;
                break;
            }
            if begun.elapsed() >= GIVE_UP_AFTER {
                let gave_up = GaveUp { at: self.at.clone(), next: self.next, source };
                return Err(LogError::Transient(gave_up.into()).into());
            }
            tracing::warn!(partition = %self.at, next = self.next, error = %source, "reading is interrupted: trying again");
            sleep(wait).await;
            wait = AGAIN_MAX.min(wait * 2);
        }
        Ok(Vec::new())
    }

    async fn attempt(&mut self, records_max: usize) -> Result<Vec<Record>, PatientError> {
        let (topic, partition) = (&self.at.topic, self.at.partition);
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                if let Some((offset, fingerprint)) = self.proof
                    && !stands(self.log, topic, partition, offset, fingerprint).await?
                {
                    return Err(PatientError::NotTheLog(self.at.clone(), offset));
                }
                self.log.reader(topic, partition, self.next).await?
            }
        };
        let records = next_before_end(&mut *reader, records_max).await?;
        self.reader = Some(reader);
        if let Some(last) = records.last() {
            (self.next, self.proof) = (last.offset + 1, Some((last.offset, last.fingerprint())));
        }
        Ok(records)
    }
}

/// Whether the log's last record lies before `next`, although the log reaches to `end`.
async fn is_over(log: &dyn EventLog, at: &TopicPartition, next: u64, end: u64) -> Result<bool, LogError> {
    if log.watermarks(&at.topic, at.partition).await?.next < end {
        return Ok(false);
    }
    let last = last_record(log, &at.topic, at.partition).await?;
    Ok(last.is_none_or(|last| last.offset < next))
}
