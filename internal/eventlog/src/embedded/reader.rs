//! A reader of one partition.

use std::sync::Arc;

use async_trait::async_trait;
use environment::Seen;

use super::Core;
use super::codec;
use super::topics::{self, Topic, broken};
use crate::{LogError, PartitionReader, Record};

/// Records read from the tables at a time.
const FETCH_RECORDS: usize = 128;
/// A call stops reading once it has this many bytes of bodies.
const READ_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Reader {
    core: Arc<Core>,
    topic: Arc<Topic>,
    partition: u32,
    /// The offset of the next record.
    next: u64,
    /// The offset after the last durable record.
    durable: Seen<u64>,
}

/// The tables lack a record between the watermarks.
#[derive(Debug, thiserror::Error)]
#[error("{topic}/{partition} has lost its record {offset}")]
struct Missing {
    topic: String,
    partition: u32,
    offset: u64,
}

impl Reader {
    pub(super) fn open(core: Arc<Core>, topic: Arc<Topic>, partition: u32, from: u64) -> Result<Self, LogError> {
        let durable = topic.partition(partition)?.durable.seen();
        Ok(Self { core, topic, partition, next: from, durable })
    }

    /// At most `records_max` records from `self.next` on, all below `end`.
    fn fetch(&self, end: u64, records_max: usize) -> Result<Vec<Record>, LogError> {
        let records = self.topic.partition(self.partition)?.recent.read(self.next, end, records_max);
        if !records.is_empty() {
            return Ok(records);
        }
        if self.topic.row.lossy {
            return Err(self.gap()?);
        }
        let tables = self.core.tables()?;
        let key = self.topic.key(self.partition);
        let (mut records, mut bytes, mut next) = (Vec::new(), 0, self.next);
        'fetching: while records.len() < records_max && bytes < READ_BYTES && next < end {
            let limit = FETCH_RECORDS.min(records_max - records.len());
            let found = topics::scan(&tables, key, next, end, limit)?;
            let complete = found.len() == limit;
            for (offset, value) in found {
                if offset != next {
                    break 'fetching;
                }
                records.push(codec::decode_record(offset, &value).map_err(broken)?);
                (bytes, next) = (bytes + value.len(), next + 1);
            }
            if !complete {
                break;
            }
        }
        if records.is_empty() { Err(self.gap()?) } else { Ok(records) }
    }

    /// The reason why the next record is missing. The low watermark passes a record before it is trimmed.
    fn gap(&self) -> Result<LogError, LogError> {
        let (topic, partition, offset) = (self.topic.name.clone(), self.partition, self.next);
        if self.next < self.topic.partition(self.partition)?.watermarks().low {
            return Ok(LogError::OutOfRange { topic, partition, offset });
        }
        Ok(broken(Missing { topic, partition, offset }))
    }
}

#[async_trait]
impl PartitionReader for Reader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        let next = self.next;
        let range = self.topic.partition(self.partition)?.watermarks();
        if next < range.low || next > range.next {
            return Err(LogError::OutOfRange {
                topic: self.topic.name.clone(),
                partition: self.partition,
                offset: next,
            });
        }
        let end = tokio::select! {
            biased;
            () = self.core.closing.cancelled() => return Err(LogError::Closed),
            end = self.durable.wait_for(|end| end > next) => end.map_err(|_| LogError::Closed)?,
        };
        let records = self.fetch(end, records_max.max(1))?;
        self.next += records.len() as u64;
        Ok(records)
    }
}
