//! The newest records of a partition, in memory.
//!
//! Of a lossy partition they are all there is: they and their offsets are never written to disk and are lost with the
//! process. Of a durable one they are a copy, so that readers at the end, which is where consumers and sockets are
//! nearly always, do not search the tables.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use environment::Latest;

use crate::{NewRecord, Record};

/// Records kept per partition. At the bound the oldest is dropped; a reader that still needed it finds it in the tables,
/// and gets `OutOfRange` in a lossy partition.
const RECORDS_MAX: usize = 1024;
/// The most bytes that the records of a lossy partition may have.
const LOSSY_BYTES_MAX: usize = 1 << 20;
/// The most bytes that the copies of a durable partition may have. A larger record is not kept at all.
const COPIES_BYTES_MAX: usize = 128 << 10;

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
        kept.push(record.at(offset, now_ms));
        while kept.records.len() > 1
            && let Some(oldest) = kept.records.front()
            && (kept.are_over(LOSSY_BYTES_MAX) || oldest.append_time_ms < keep_from_ms)
        {
            kept.drop_oldest();
        }
        low.store(kept.records.front().map_or(offset, |oldest| oldest.offset), Ordering::Release);
        next.set(offset + 1);
        offset
    }

    /// Keeps copies of records that the tables have, in the order of their offsets and without gaps. Readers may see
    /// them from now on.
    pub(super) fn copy(&self, records: Vec<Record>) {
        let mut kept = self.lock();
        for record in records {
            kept.push(record);
            while kept.are_over(COPIES_BYTES_MAX) {
                kept.drop_oldest();
            }
        }
    }

    /// At most `limit` records from `from` on, all below `end`; none when the record at `from` was dropped.
    pub(super) fn read(&self, from: u64, end: u64, limit: usize) -> Vec<Record> {
        let kept = self.lock();
        let first = kept.records.front().map_or(0, |oldest| oldest.offset);
        let Some(skipped) = from.checked_sub(first).and_then(|skipped| usize::try_from(skipped).ok()) else {
            return Vec::new();
        };
        let records = kept.records.iter().skip(skipped).take(limit);
        records.take_while(|record| record.offset < end).cloned().collect()
    }

    /// The offset of the first record appended at or after that time.
    pub(super) fn offset_at(&self, time_ms: i64) -> Option<u64> {
        self.lock().records.iter().find(|record| record.append_time_ms >= time_ms).map(|record| record.offset)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, record: Record) {
        self.bytes += bytes_of(&record);
        self.records.push_back(record);
    }

    fn are_over(&self, bytes_max: usize) -> bool {
        self.records.len() > RECORDS_MAX || self.bytes > bytes_max
    }

    fn drop_oldest(&mut self) {
        self.bytes -= self.records.pop_front().as_ref().map_or(0, bytes_of);
    }
}

fn bytes_of(record: &Record) -> usize {
    let headers = record.headers.iter().map(|(name, value)| name.len() + value.len());
    record.key.len() + headers.sum::<usize>() + record.payload.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(offset: u64, bytes: usize) -> Record {
        let (key, payload) = (Bytes::new(), Bytes::from(vec![0; bytes]));
        Record { offset, append_time_ms: 0, key, headers: Vec::new(), payload }
    }

    fn read(recent: &Recent, from: u64, end: u64) -> Vec<u64> {
        recent.read(from, end, 100).iter().map(|record| record.offset).collect()
    }

    #[test]
    fn copies_are_read_from_any_of_them_to_the_end() {
        let recent = Recent::default();
        recent.copy((7..10).map(|offset| record(offset, 1)).collect());
        recent.copy(vec![record(10, 1)]);
        assert_eq!(read(&recent, 7, 11), [7, 8, 9, 10]);
        assert_eq!(read(&recent, 9, 10), [9], "what is behind the end is not durable for that reader yet");
        assert_eq!(recent.read(7, 11, 2).len(), 2);
        assert_eq!((read(&recent, 6, 11), read(&recent, 11, 11)), (vec![], vec![]));
    }

    #[test]
    fn copies_are_bounded_and_have_no_gap() {
        let recent = Recent::default();
        recent.copy((0..2000).map(|offset| record(offset, 100)).collect());
        let kept = read(&recent, 2000 - 1000, 2000);
        assert_eq!(kept, (1000..1100).collect::<Vec<_>>(), "a hundred at a time");
        assert!(recent.lock().records.len() <= RECORDS_MAX && recent.lock().bytes <= COPIES_BYTES_MAX);
        // A record that is too large takes all before it along: readers find both in the tables.
        recent.copy(vec![record(2000, COPIES_BYTES_MAX + 1)]);
        assert_eq!((read(&recent, 1999, 2001), recent.lock().bytes), (vec![], 0));
        recent.copy(vec![record(2001, 1)]);
        assert_eq!((read(&recent, 2000, 2002), read(&recent, 2001, 2002)), (vec![], vec![2001]));
    }
}
