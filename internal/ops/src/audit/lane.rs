//! Reading the partitions of `chat.messages` side by side, in the order of the log's time, in bounded portions.

use std::collections::VecDeque;

use eventlog::{EventLog, PatientReader, Record, TopicPartition};
use events::topics::MESSAGES;

use crate::OpsError;

/// Records of one portion, over all partitions.
const CHUNK_RECORDS_MAX: usize = 4096;
/// Bytes of payload of one portion, roughly.
const CHUNK_BYTES_MAX: usize = 16 << 20;
/// Records taken from a partition at once.
const RECORDS_AT_ONCE: usize = 500;

/// A partition, from where the audit stands to where it may go.
pub(super) struct Lane<'a> {
    pub(super) partition: u32,
    /// The next offset to be audited.
    pub(super) next: u64,
    /// Behind the last one.
    pub(super) end: u64,
    reader: PatientReader<'a>,
    buffer: VecDeque<Record>,
}

/// The next records of one partition, all of `from..to` that are there.
pub(super) struct Slice {
    pub(super) partition: u32,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) records: Vec<Record>,
}

impl Slice {
    pub(super) fn covers(&self, offset: u64) -> bool {
        self.from <= offset && offset < self.to
    }
}

impl<'a> Lane<'a> {
    pub(super) fn new(log: &'a dyn EventLog, partition: u32, next: u64) -> Self {
        let reader = PatientReader::new(log, TopicPartition::new(MESSAGES, partition), next, None);
        Self { partition, next, end: next, reader, buffer: VecDeque::new() }
    }

    /// Has its next record at hand, unless it is at its end.
    async fn fill(&mut self) -> Result<(), OpsError> {
        if self.buffer.is_empty() && self.next < self.end {
            self.buffer.extend(self.reader.next(self.end, RECORDS_AT_ONCE).await?);
        }
        // A gap at the end: what comes next lies behind it.
        if self.head().is_none() {
            self.next = self.next.max(self.end);
        }
        Ok(())
    }

    fn head(&self) -> Option<&Record> {
        self.buffer.front().filter(|record| record.offset < self.end)
    }
}

/// The next portion: of all lanes the records that come first by the log's time. Empty at the end of all.
pub(super) async fn chunk(lanes: &mut [Lane<'_>]) -> Result<Vec<Slice>, OpsError> {
    let mut slices: Vec<Slice> = lanes
        .iter()
        .map(|lane| Slice { partition: lane.partition, from: lane.next, to: lane.next, records: Vec::new() })
        .collect();
    let (mut records, mut bytes) = (0, 0);
    while records < CHUNK_RECORDS_MAX && bytes < CHUNK_BYTES_MAX {
        for lane in &mut *lanes {
            lane.fill().await?;
        }
        let first = lanes.iter_mut().zip(&mut slices).filter_map(|(lane, slice)| {
            let time = lane.head()?.append_time_ms;
            Some((time, lane, slice))
        });
        let Some((_, lane, slice)) = first.min_by_key(|(time, ..)| *time) else { break };
        let Some(record) = lane.buffer.pop_front() else { break };
        lane.next = record.offset + 1;
        slice.to = lane.next;
        records += 1;
        bytes += record.payload.len();
        slice.records.push(record);
    }
    slices.retain(|slice| !slice.records.is_empty());
    Ok(slices)
}
