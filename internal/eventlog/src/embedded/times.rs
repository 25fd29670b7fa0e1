//! Finds a record by time, although append times may run backwards.
//!
//! Every [`MARK_EVERY`] records the writer stores a mark: the highest append time so far, and the offset. Both
//! only increase, so all records up to the last mark below a time are older, and the record sought is among the
//! next [`MARK_EVERY`]. The result is exact and costs a read of a few hundred records at most.

use std::ops::Bound;

use bytes::Bytes;
use kv::Batch;

use super::codec::{self, PartitionKey};
use super::topics::{self, Tables, broken};
use crate::{LogError, Watermarks};

/// Records between two marks.
const MARK_EVERY: u64 = 512;
/// Records read at a time.
const SCAN_RECORDS: usize = 128;

/// The end of a partition, as the writer keeps it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    /// The offset of the next record.
    pub(super) next: u64,
    /// The highest append time so far.
    time_ms_max: i64,
    /// Records since the last mark.
    unmarked: u64,
}

impl Tail {
    /// The end of an empty partition.
    pub(super) const EMPTY: Self = Self { next: 0, time_ms_max: i64::MIN, unmarked: 0 };

    /// Assigns the next offset to a record appended at `time_ms`, and stores a mark where one is due.
    pub(super) fn take(&mut self, key: PartitionKey, time_ms: i64, tables: &Tables, batch: &mut Batch) -> u64 {
        let offset = self.next;
        self.pass(offset, time_ms);
        if self.unmarked == MARK_EVERY {
            self.unmarked = 0;
            batch.put(&tables.marks, key.mark(self.time_ms_max, offset).to_vec(), Bytes::new());
        }
        offset
    }

    fn pass(&mut self, offset: u64, time_ms: i64) {
        self.next = offset + 1;
        self.time_ms_max = self.time_ms_max.max(time_ms);
        self.unmarked += 1;
    }
}

/// The end of a partition, computed from the tables.
pub(super) fn load_tail(tables: &Tables, key: PartitionKey, low: u64) -> Result<Tail, LogError> {
    let mut tail = Tail { next: low, ..Tail::EMPTY };
    if let Some((time_ms_max, offset)) = last_mark(tables, key, i64::MAX)? {
        tail = Tail { next: low.max(offset + 1), time_ms_max, unmarked: 0 };
    }
    loop {
        let records = topics::scan(tables, key, tail.next, u64::MAX, SCAN_RECORDS)?;
        for (offset, value) in &records {
            tail.pass(*offset, codec::time_of(value).map_err(broken)?);
        }
        if records.len() < SCAN_RECORDS {
            return Ok(tail);
        }
    }
}

/// The offset of the first record of the range that was appended at or after `time_ms`.
pub(super) fn find(
    tables: &Tables,
    key: PartitionKey,
    range: Watermarks,
    time_ms: i64,
) -> Result<Option<u64>, LogError> {
    let mut from = range.low;
    if let Some((_, offset)) = last_mark(tables, key, time_ms)? {
        from = from.max(offset + 1);
    }
    loop {
        let records = topics::scan(tables, key, from, range.next, SCAN_RECORDS)?;
        let Some((last, _)) = records.last() else { return Ok(None) };
        from = last + 1;
        for (offset, value) in records {
            if codec::time_of(&value).map_err(broken)? >= time_ms {
                return Ok(Some(offset));
            }
        }
    }
}

/// Removes the marks of records below `low`; a lookup without an earlier mark begins at `low`.
pub(super) fn trim_marks(
    tables: &Tables,
    key: PartitionKey,
    low: u64,
    limit: usize,
    batch: &mut Batch,
) -> Result<(), LogError> {
    for (mark, _) in tables.marks.scan_prefix(&key.bytes(), limit).map_err(broken)? {
        if codec::mark_of(&mark).map_err(broken)?.1 >= low {
            break;
        }
        batch.remove(&tables.marks, mark);
    }
    Ok(())
}

/// The last mark whose time is below `time_ms` (with `i64::MAX`: the last mark of all).
fn last_mark(tables: &Tables, key: PartitionKey, time_ms: i64) -> Result<Option<(i64, u64)>, LogError> {
    let (first, end) = (key.bytes(), key.mark(time_ms, 0));
    let found = tables.marks.scan_back(Bound::Included(&first), Bound::Excluded(&end), 1).map_err(broken)?;
    found.first().map(|(mark, _)| codec::mark_of(mark).map_err(broken)).transpose()
}
