//! Reads the partitions of `chat.messages` in parallel, in the order of append times, in bounded portions.

use std::collections::VecDeque;

use eventlog::{EventLog, PatientReader, Record, TopicPartition};
use events::topics::MESSAGES;

use crate::OpsError;

/// Records of one portion, over all partitions.
const CHUNK_RECORDS_MAX: usize = 4096;
/// Bytes of payload of one portion, approximately: the last record may exceed it.
const CHUNK_BYTES_MAX: usize = 16 << 20;
/// Records that are read from a partition at once.
const RECORDS_AT_ONCE: usize = 500;

/// A partition's range that is still to be audited.
pub(super) struct PartitionRange<'a> {
    pub(super) partition: u32,
    /// The next offset to be audited.
    pub(super) next: u64,
    /// The end of the range, exclusive.
    pub(super) end: u64,
    reader: PatientReader<'a>,
    buffer: VecDeque<Record>,
}

/// The next records of one partition: all of `from..to` that are there.
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

impl<'a> PartitionRange<'a> {
    pub(super) fn new(log: &'a dyn EventLog, partition: u32, next: u64) -> Self {
        let reader = PatientReader::new(log, TopicPartition::new(MESSAGES, partition), next, None);
        Self { partition, next, end: next, reader, buffer: VecDeque::new() }
    }

    /// Fetches the next records, unless the range is at its end.
    async fn fill(&mut self) -> Result<(), OpsError> {
        if self.buffer.is_empty() && self.next < self.end {
            self.buffer.extend(self.reader.next(self.end, RECORDS_AT_ONCE).await?);
        }
        // There is a gap at the end of the range: the next record is behind it.
        if self.head().is_none() {
            self.next = self.next.max(self.end);
        }
        Ok(())
    }

    fn head(&self) -> Option<&Record> {
        self.buffer.front().filter(|record| record.offset < self.end)
    }
}

/// The next portion: the records with the lowest append times of all ranges. Empty when all ranges are at their end.
pub(super) async fn chunk(ranges: &mut [PartitionRange<'_>]) -> Result<Vec<Slice>, OpsError> {
    let mut slices: Vec<Slice> = ranges
        .iter()
        .map(|range| Slice { partition: range.partition, from: range.next, to: range.next, records: Vec::new() })
        .collect();
    let (mut records, mut bytes) = (0, 0);
    while records < CHUNK_RECORDS_MAX && bytes < CHUNK_BYTES_MAX {
        for range in &mut *ranges {
            range.fill().await?;
        }
        let first = ranges.iter_mut().zip(&mut slices).filter_map(|(range, slice)| {
            let time = range.head()?.append_time_ms;
            Some((time, range, slice))
        });
        let Some((_, range, slice)) = first.min_by_key(|(time, ..)| *time) else { break };
        let Some(record) = range.buffer.pop_front() else { break };
        range.next = record.offset + 1;
        slice.to = range.next;
        records += 1;
        bytes += record.payload.len();
        slice.records.push(record);
    }
    slices.retain(|slice| !slice.records.is_empty());
    Ok(slices)
}
