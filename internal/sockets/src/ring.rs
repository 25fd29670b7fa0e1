//! The recent records of one partition, bounded in number and bytes.
//!
//! Recipient lists have a bound of their own: a group with thousands of members in one partition must not push out
//! frames that others have not taken yet. Only devices that reconnect need a list, so at that bound the oldest
//! lists are dropped and their entries stay: a device whose cursor is older than the first list is served from the
//! log instead.

use std::collections::VecDeque;

use domain::Cursor;

use crate::entry::Entry;

/// Recent records in order. No record of the log is missing between the first and the last.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<RingEntry>,
    /// The number of the first entry. Entries are numbered without gaps; their offsets may have gaps.
    first: u64,
    /// The cursor in front of the first entry.
    start: Cursor,
    /// The cursor behind the last entry.
    end: Cursor,
    /// Bytes of all entries, without their recipient lists.
    bytes: usize,
    /// Bytes of all lists that are kept.
    list_bytes: usize,
    /// The number of the first entry that still has its recipient list.
    listed: u64,
    bounds: Bounds,
}

/// The bounds of a ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) records_max: usize,
    /// The most bytes of entries, without their recipient lists.
    pub(crate) bytes_max: usize,
    /// The most bytes of recipient lists.
    pub(crate) list_bytes_max: usize,
}

#[derive(Debug)]
struct RingEntry {
    entry: Entry,
    /// The count of sockets that have not taken it.
    takers: u32,
}

/// The relation of a cursor to a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Inside the ring, and the record before it is the one that it names.
    Inside,
    /// Inside the ring, and the record before it is another one: the cursor is of another log.
    Differs,
    /// Older than the ring's listed entries, this many offsets before the end.
    Older(u64),
    /// Beyond what was read so far.
    Ahead,
}

impl Ring {
    /// An empty ring that begins at `start`.
    pub(crate) fn new(start: Cursor, bounds: Bounds) -> Self {
        let entries = VecDeque::new();
        Self { entries, first: 0, start, end: start, bytes: 0, list_bytes: 0, listed: 0, bounds }
    }

    /// The cursor behind the last entry.
    pub(crate) fn end(&self) -> Cursor {
        self.end
    }

    /// Adds the next record and drops the oldest ones beyond the bounds (never the new one); returns the new
    /// entry's number.
    pub(crate) fn push(&mut self, entry: Entry) -> u64 {
        self.end = entry.end;
        self.bytes += entry.bytes();
        self.list_bytes += entry.list_bytes();
        self.entries.push_back(RingEntry { entry, takers: 0 });
        let Bounds { records_max, bytes_max, list_bytes_max } = self.bounds;
        while self.entries.len() > 1 && (self.entries.len() > records_max || self.bytes > bytes_max) {
            if let Some(RingEntry { entry: old, .. }) = self.entries.pop_front() {
                self.start = old.end;
                self.first += 1;
                self.bytes -= old.bytes();
                self.list_bytes -= old.list_bytes();
            }
        }
        let newest = self.first + self.entries.len() as u64 - 1;
        self.listed = self.listed.max(self.first);
        while self.list_bytes > list_bytes_max && self.listed < newest {
            self.drop_list(self.listed);
            self.listed += 1;
        }
        newest
    }

    fn drop_list(&mut self, number: u64) {
        let Some(ring_entry) = self.ring_entry(number) else { return };
        let bytes = ring_entry.entry.list_bytes();
        ring_entry.entry.drop_list();
        self.list_bytes -= bytes;
    }

    /// The cursor in front of the first entry with a recipient list. For the entries before it, the ring cannot
    /// tell who the recipients are.
    fn listed_from(&self) -> Cursor {
        let before = self.listed.checked_sub(1).and_then(|number| self.get(number));
        before.map_or(self.start, |entry| entry.end)
    }

    /// If pushing these would drop an entry that a socket has not taken: the number of the first entry that would
    /// stay.
    pub(crate) fn would_cut(&self, entries: &[Entry]) -> Option<u64> {
        let mut records = self.entries.len() + entries.len();
        let mut bytes = self.bytes + entries.iter().map(Entry::bytes).sum::<usize>();
        let (mut stays, mut waited_for) = (self.first, false);
        for ring_entry in &self.entries {
            if records <= self.bounds.records_max && bytes <= self.bounds.bytes_max {
                break;
            }
            waited_for |= ring_entry.takers > 0;
            stays += 1;
            (records, bytes) = (records - 1, bytes - ring_entry.entry.bytes());
        }
        waited_for.then_some(stays)
    }

    /// The entry of that number; `None` when it was dropped.
    pub(crate) fn get(&self, number: u64) -> Option<&Entry> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get(index).map(|ring_entry| &ring_entry.entry)
    }

    /// Notes that `count` more sockets are going to take the entry of that number.
    pub(crate) fn await_takers(&mut self, number: u64, count: u32) {
        if let Some(ring_entry) = self.ring_entry(number) {
            ring_entry.takers += count;
        }
    }

    /// Notes that one of those sockets takes the entry, or never will; returns the entry, or `None` when it was
    /// dropped.
    pub(crate) fn take(&mut self, number: u64) -> Option<&Entry> {
        let ring_entry = self.ring_entry(number)?;
        ring_entry.takers = ring_entry.takers.saturating_sub(1);
        Some(&ring_entry.entry)
    }

    fn ring_entry(&mut self, number: u64) -> Option<&mut RingEntry> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(index)
    }

    /// Whether the entry of that number was dropped.
    pub(crate) fn dropped(&self, number: u64) -> bool {
        number < self.first
    }

    /// The relation of `cursor` to this ring.
    pub(crate) fn standing(&self, cursor: Cursor) -> Standing {
        if cursor.next < self.listed_from().next {
            return Standing::Older(self.end.next - cursor.next);
        }
        if cursor.next > self.end.next {
            return Standing::Ahead;
        }
        let known = if cursor.next == self.start.next {
            Some(self.start)
        } else {
            let index = self.entries.partition_point(|ring_entry| ring_entry.entry.end.next < cursor.next);
            self.entries.get(index).map(|ring_entry| ring_entry.entry.end)
        };
        if known == Some(cursor) { Standing::Inside } else { Standing::Differs }
    }

    /// The entries at and after `cursor.next`, with their numbers.
    pub(crate) fn since(&self, cursor: Cursor) -> impl Iterator<Item = (u64, &Entry)> {
        let index = self.entries.partition_point(|ring_entry| ring_entry.entry.end.next <= cursor.next);
        let numbers = self.first + index as u64..;
        numbers.zip(self.entries.range(index..).map(|ring_entry| &ring_entry.entry))
    }

    /// The count of records, and the bytes with recipient lists.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes + self.list_bytes)
    }
}

#[cfg(test)]
mod tests {
    use domain::{Fingerprint, UserId};
    use uuid::Uuid;

    use super::*;
    use crate::text_frame::TextFrame;

    fn behind(offset: u64) -> Cursor {
        Cursor { generation: 0, partition: 0, next: offset + 1, fingerprint: Fingerprint(offset) }
    }

    fn entry(offset: u64, members: u32) -> Entry {
        let user = |number: u32| UserId::try_from(Uuid::from_u128(u128::from(number))).unwrap();
        Entry::of(behind(offset), (0..members).map(user).collect(), TextFrame::new("{}"))
    }

    /// Issue 10, item 4.
    #[test]
    fn long_lists_of_recipients_push_nobodys_frames_out() {
        const MEMBERS: u32 = 9_990;
        let bounds = Bounds { records_max: 4096, bytes_max: 4 << 20, list_bytes_max: 4 << 20 };
        let mut ring = Ring::new(behind(0), bounds);
        let number = ring.push(entry(1, 1));
        ring.await_takers(number, 1);
        for offset in 2..100 {
            assert_eq!(ring.would_cut(&[entry(offset, MEMBERS)]), None, "nobody is about to lose anything");
            ring.push(entry(offset, MEMBERS));
        }
        assert!(ring.get(number).is_some() && !ring.dropped(number), "what somebody waits for is there");
        let lists: usize = ring.entries.iter().map(|ring_entry| ring_entry.entry.list_bytes()).sum();
        assert!(lists <= bounds.list_bytes_max && lists == ring.list_bytes, "{lists}");
        // Cursors older than the first list are served from the log; from there on the ring serves them.
        let listed = 1 + ring.entries.iter().position(|ring_entry| ring_entry.entry.list_bytes() > 0).unwrap() as u64;
        assert!((60..90).contains(&listed), "{listed}");
        assert_eq!(ring.standing(behind(listed - 1)), Standing::Inside);
        assert!(matches!(ring.standing(behind(listed - 2)), Standing::Older(_)));
        assert_eq!(ring.standing(behind(99)), Standing::Inside);
        // Small lists fit again once the long ones were dropped.
        for offset in 100..100 + 4_096 {
            ring.push(entry(offset, 1));
        }
        assert_eq!(ring.list_bytes, 4_096 * size_of::<UserId>());
        assert_eq!(ring.listed_from(), ring.start);
    }
}
