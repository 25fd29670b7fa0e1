//! Reading up to an end that is known, through what passes by itself: some seconds without a leader are no reason to
//! begin a long work anew.

use std::time::Duration;

use domain::Fingerprint;
use tokio::time::{Instant, sleep};

use crate::lookup::{last_record, next_before_end, stands};
use crate::{EventLog, LogError, PartitionReader, Record, TopicPartition};

/// How long nothing may come before it is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(180);
/// The wait before the next attempt; each further one is twice as long. One reader needs no jitter.
const AGAIN_BASE: Duration = Duration::from_millis(100);
/// No wait is longer.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// As often in a row as nothing must come, while the log shows what stands before, until its end counts as empty.
const EMPTY_LOOKS: u32 = 2;

/// Reading cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PatientError {
    /// The log cannot be read; for good, or for too long.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What was read last is not there any more: going on would lead into another log.
    #[error("{0}: the record at offset {1} is not the one that was read: the topic was re-created or cut short")]
    NotTheLog(TopicPartition, u64),
}

/// Nothing came for long.
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

/// Reads one partition in order, and again where it was interrupted.
pub struct PatientReader<'a> {
    log: &'a dyn EventLog,
    at: TopicPartition,
    next: u64,
    /// A record that stands in this log, as far on as is known.
    proof: Option<(u64, Fingerprint)>,
    /// `None` before the first read, and after an interruption.
    reader: Option<Box<dyn PartitionReader>>,
}

impl<'a> PatientReader<'a> {
    /// Begins at `from`. `proof` is a record of this log, if one is known: before reading goes on after an interruption, it
    /// must still stand.
    #[must_use]
    pub fn new(log: &'a dyn EventLog, at: TopicPartition, from: u64, proof: Option<(u64, Fingerprint)>) -> Self {
        Self { log, at, next: from, proof, reader: None }
    }

    /// The next records, at most `records_max`, of which the last may stand behind `end`, which the log has passed. None
    /// when there are no more before `end`. Cancel safe.
    ///
    /// # Errors
    /// What does not pass by itself, and [`LogError::Transient`], with what to do, when nothing comes for minutes.
    pub async fn next(&mut self, end: u64, records_max: usize) -> Result<Vec<Record>, PatientError> {
        let (begun, mut wait, mut empty) = (Instant::now(), AGAIN_BASE, 0);
        while self.next < end {
            let source = match self.attempt(records_max).await {
                Ok(records) => return Ok(records),
                Err(PatientError::Log(LogError::Transient(source))) => source,
                Err(error) => return Err(error),
            };
            // The offsets before the end may be empty: a foreign producer's control records.
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

/// Whether the last record of all stands before `next`, though the log reaches to `end`.
async fn is_over(log: &dyn EventLog, at: &TopicPartition, next: u64, end: u64) -> Result<bool, LogError> {
    if log.watermarks(&at.topic, at.partition).await?.next < end {
        return Ok(false);
    }
    let last = last_record(log, &at.topic, at.partition).await?;
    Ok(last.is_none_or(|last| last.offset < next))
}
