//! The recent records of one partition, bounded in number and bytes.

use std::collections::VecDeque;

use domain::Cursor;

use crate::entry::Entry;

/// Recent records in order, without gaps in what the log has.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<Slot>,
    /// The number of the first entry. Entries are numbered densely, offsets need not be dense.
    first: u64,
    /// Where a device stands that needs the first entry next.
    start: Cursor,
    /// Where a device stands that has had the last one.
    end: Cursor,
    /// Of all entries.
    bytes: usize,
    records_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    /// Sockets that have not taken it.
    takers: u32,
}

/// How a cursor stands to a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Inside, and its predecessor is the one it names.
    Inside,
    /// Inside, and its predecessor is another: the cursor is of another log.
    Differs,
    /// Older than everything here, so many offsets from the end.
    Older(u64),
    /// Beyond what was read so far.
    Ahead,
}

impl Ring {
    /// An empty ring that begins at `start`.
    pub(crate) fn new(start: Cursor, records_max: usize, bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), first: 0, start, end: start, bytes: 0, records_max, bytes_max }
    }

    /// Where a device stands that has had everything here.
    pub(crate) fn end(&self) -> Cursor {
        self.end
    }

    /// Adds the next record, drops the oldest ones beyond the bounds (never the new one); returns its number.
    pub(crate) fn push(&mut self, entry: Entry) -> u64 {
        self.end = entry.end;
        self.bytes += entry.bytes();
        self.entries.push_back(Slot { entry, takers: 0 });
        while self.entries.len() > 1 && (self.entries.len() > self.records_max || self.bytes > self.bytes_max) {
            if let Some(Slot { entry: old, .. }) = self.entries.pop_front() {
                self.start = old.end;
                self.first += 1;
                self.bytes -= old.bytes();
            }
        }
        self.first + self.entries.len() as u64 - 1
    }

    /// If pushing these would drop an entry that a socket has not taken: the number of the first entry that would stay.
    pub(crate) fn would_cut(&self, entries: &[Entry]) -> Option<u64> {
        let mut records = self.entries.len() + entries.len();
        let mut bytes = self.bytes + entries.iter().map(Entry::bytes).sum::<usize>();
        let (mut stays, mut waited_for) = (self.first, false);
        for slot in &self.entries {
            if records <= self.records_max && bytes <= self.bytes_max {
                break;
            }
            waited_for |= slot.takers > 0;
            stays += 1;
            (records, bytes) = (records - 1, bytes - slot.entry.bytes());
        }
        waited_for.then_some(stays)
    }

    /// The entry of that number; `None` when it was dropped.
    pub(crate) fn get(&self, number: u64) -> Option<&Entry> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get(place).map(|slot| &slot.entry)
    }

    /// So many more sockets are going to take the entry of that number.
    pub(crate) fn await_takers(&mut self, number: u64, count: u32) {
        if let Some(slot) = self.slot(number) {
            slot.takers += count;
        }
    }

    /// One of the sockets that are to take the entry takes it, or never will; `None` when it was dropped.
    pub(crate) fn take(&mut self, number: u64) -> Option<&Entry> {
        let slot = self.slot(number)?;
        slot.takers = slot.takers.saturating_sub(1);
        Some(&slot.entry)
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(place)
    }

    /// Whether the entry of that number was dropped.
    pub(crate) fn dropped(&self, number: u64) -> bool {
        number < self.first
    }

    /// How `cursor` stands to what is here.
    pub(crate) fn standing(&self, cursor: Cursor) -> Standing {
        if cursor.next < self.start.next {
            return Standing::Older(self.end.next - cursor.next);
        }
        if cursor.next > self.end.next {
            return Standing::Ahead;
        }
        let known = if cursor.next == self.start.next {
            Some(self.start)
        } else {
            let place = self.entries.partition_point(|slot| slot.entry.end.next < cursor.next);
            self.entries.get(place).map(|slot| slot.entry.end)
        };
        if known == Some(cursor) { Standing::Inside } else { Standing::Differs }
    }

    /// The entries at and after `cursor.next`, with their numbers.
    pub(crate) fn since(&self, cursor: Cursor) -> impl Iterator<Item = (u64, &Entry)> {
        let place = self.entries.partition_point(|slot| slot.entry.end.next <= cursor.next);
        let numbers = self.first + place as u64..;
        numbers.zip(self.entries.range(place..).map(|slot| &slot.entry))
    }

    /// Records and bytes here.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}
