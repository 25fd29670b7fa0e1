//! The newest records of a lossy partition, in memory only. They and their offsets are never written to disk and
//! are lost with the process.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use environment::Latest;

use crate::{NewRecord, Record};

/// Records kept per partition. At the bound the oldest is dropped; a reader that still needed it gets
/// `OutOfRange`.
const RECORDS_MAX: usize = 1024;
/// The most bytes that those records may have.
const BYTES_MAX: usize = 1 << 20;

/// The newest records.
#[derive(Debug, Default)]
pub(super) struct Recent {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Record>,
    /// The total bytes of the records.
    bytes: usize,
}

impl Recent {
    /// Appends a record at `next`, advances `next`, and drops records over the bounds or appended before
    /// `keep_from_ms`, which advances `low`. Returns the record's offset.
    pub(super) fn append(
        &self,
        (low, next): (&AtomicU64, &Latest<u64>),
        record: NewRecord,
        (now_ms, keep_from_ms): (i64, i64),
    ) -> u64 {
        let mut kept = self.lock();
        let offset = next.get();
        let NewRecord { key, headers, payload, .. } = record;
        let record = Record { offset, append_time_ms: now_ms, key: Bytes::from(key), headers, payload };
        kept.bytes += bytes_of(&record);
        kept.records.push_back(record);
        while kept.records.len() > 1
            && let Some(oldest) = kept.records.front()
            && (kept.records.len() > RECORDS_MAX || kept.bytes > BYTES_MAX || oldest.append_time_ms < keep_from_ms)
        {
            kept.bytes -= bytes_of(oldest);
            kept.records.pop_front();
        }
        low.store(kept.records.front().map_or(offset, |oldest| oldest.offset), Ordering::Release);
        next.set(offset + 1);
        offset
    }

    /// At most `limit` records from `from` on; none when the record at `from` was dropped.
    pub(super) fn read(&self, from: u64, limit: usize) -> Vec<Record> {
        let kept = self.lock();
        let first = kept.records.front().map_or(0, |oldest| oldest.offset);
        let Some(skipped) = from.checked_sub(first).and_then(|skipped| usize::try_from(skipped).ok()) else {
            return Vec::new();
        };
        kept.records.iter().skip(skipped).take(limit).cloned().collect()
    }

    /// The offset of the first record appended at or after that time.
    pub(super) fn offset_at(&self, time_ms: i64) -> Option<u64> {
        self.lock().records.iter().find(|record| record.append_time_ms >= time_ms).map(|record| record.offset)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(record: &Record) -> usize {
    let headers = record.headers.iter().map(|(name, value)| name.len() + value.len());
    record.key.len() + headers.sum::<usize>() + record.payload.len()
}
