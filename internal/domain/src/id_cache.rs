//! The id cache: decides from memory, exactly, whether an id was accepted before, for every id stamped at or after
//! `t0`.
//!
//! Loading a conversation reads all its id rows stamped at or after `t0`; from then on the cache gains every
//! accepted id. So an id stamped at or after `t0` that is not in the cache was never accepted, whatever the clocks
//! say. An older id costs one point read, whose result is kept. The cache only saves reads and can be dropped at
//! any time: dropping rows raises `t0`.

use std::collections::BTreeMap;

use crate::{Change, CommandId, IdRow, Seq};

/// How far the cache reaches back from the append time of the event that loaded it, in milliseconds.
pub const ID_CACHE_SPAN_MS: i64 = 3 * 60_000;

/// Rows that a conversation's cache keeps after an [`IdCache::shrink`]; the oldest beyond are dropped and `t0`
/// rises.
pub const ID_CACHE_ROWS_MAX: usize = 2048;

/// What the cache knows about an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The exact answer: the id's row, or `None` where the id was never accepted.
    Known(Option<IdRow>),
    /// The id is older than the cache: its row must be read from the store, as of the event before.
    Read,
}

/// Accepted ids of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdCache {
    t0_ms: i64,
    rows: BTreeMap<CommandId, IdRow>,
}

impl IdCache {
    /// A cache that knows every accepted id stamped at or after `t0_ms`; `rows` are those ids with their rows.
    pub fn new(t0_ms: i64, rows: impl IntoIterator<Item = (CommandId, IdRow)>) -> Self {
        Self { t0_ms, rows: rows.into_iter().collect() }
    }

    /// Looks the id up in memory first, whatever its stamp: its row may be older than `t0` and in memory all the
    /// same, possibly not flushed yet.
    #[must_use]
    pub fn lookup(&self, id: CommandId) -> Lookup {
        match self.rows.get(&id) {
            Some(row) => Lookup::Known(Some(*row)),
            None if id.stamp_ms() >= self.t0_ms => Lookup::Known(None),
            None => Lookup::Read,
        }
    }

    /// Keeps a row that was read from the store.
    pub fn keep(&mut self, id: CommandId, row: IdRow) {
        self.rows.insert(id, row);
    }

    /// Adds what an accepted event changes: its id, and the deletion of its target.
    pub fn absorb(&mut self, seq: Seq, changes: &[Change], target: Option<&IdRow>) {
        for change in changes {
            // A deletion is kept even when the row is older than t0: until it is flushed, only memory has the deletion.
            if let Some((id, row)) = change.id_row(seq, |id| self.rows.get(&id).or(target).copied()) {
                self.keep(id, row);
            }
        }
    }

    /// Drops the oldest rows down to `rows_max`. Call it only when every row in the cache is flushed to the store.
    pub fn shrink(&mut self, rows_max: usize) {
        while self.rows.len() > rows_max {
            if let Some((id, _)) = self.rows.pop_first() {
                self.t0_ms = self.t0_ms.max(id.stamp_ms() + 1);
            }
        }
    }

    /// The number of rows in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the cache has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PayloadHash, Stands, UserId};

    fn row(n: u64) -> IdRow {
        let author = UserId::try_from(uuid::Uuid::nil()).unwrap();
        let seq = Seq::try_from(n).unwrap();
        IdRow { author, seq, hash: PayloadHash([0; 16]), stands: Stands::Command, thread: None, deleted: None }
    }

    fn id(stamp_ms: i64) -> CommandId {
        CommandId::first_at(stamp_ms)
    }

    #[test]
    fn fresh_ids_are_decided_from_memory_and_only_older_ones_are_read() {
        assert_eq!(ID_CACHE_SPAN_MS, 180_000, "three minutes, as the design has it");
        let cache = IdCache::new(100, [(id(50), row(1)), (id(150), row(2))]);
        assert_eq!(cache.lookup(id(150)), Lookup::Known(Some(row(2))));
        assert_eq!(cache.lookup(id(50)), Lookup::Known(Some(row(1))), "whatever is here is known");
        assert_eq!(cache.lookup(id(100)), Lookup::Known(None));
        assert_eq!(cache.lookup(id(99)), Lookup::Read);
    }

    #[test]
    fn shrinking_drops_the_oldest_and_reads_them_from_then_on() {
        let mut cache = IdCache::new(0, (1..=5).map(|n| (id(n), row(n as u64))));
        assert!(!cache.is_empty());
        cache.shrink(2);
        assert_eq!(cache.len(), 2);
        assert_eq!(cache.lookup(id(3)), Lookup::Read);
        assert_eq!(cache.lookup(id(4)), Lookup::Known(Some(row(4))));
        assert_eq!(cache.lookup(id(6)), Lookup::Known(None));
        cache.shrink(2);
        assert_eq!(cache.len(), 2, "what fits stays");
        cache.shrink(0);
        assert!(cache.is_empty() && cache.lookup(id(5)) == Lookup::Read);
    }
}
