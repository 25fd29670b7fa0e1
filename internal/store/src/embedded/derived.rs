//! The tables of one incarnation.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use kv::Database;

use crate::embedded::broken;
use crate::embedded::change::RankedTable;
use crate::embedded::row;
use crate::observer::{Observer, Op};
use crate::tables::{self, Table};
use crate::{CellWrites, RowValues, StoreError, ValueRef};

/// Rows that are read at once before other tasks of this thread get their turn.
pub(super) const READ_ROWS_MAX: usize = 512;

/// The number of ranks of one incarnation in a batch: for its derived tables, its holds and its progress.
const RANKS: u32 = 32;
const RANK_HOLDS: u32 = 30;
const RANK_APPLIED: u32 = 31;
/// A table with the rank of the holds would mix its rows with theirs.
const _: () = assert!(tables::ALL.len() <= RANK_HOLDS as usize);

/// The tables of one incarnation.
#[derive(Debug)]
pub(super) struct Derived {
    pub(super) incarnation: u32,
    /// Whether they were opened beside another incarnation: then they may be written whatever is current.
    beside: bool,
    /// In the order of [`tables::ALL`].
    tables: Vec<DerivedTable>,
    /// The holds of storage.
    pub(super) holds: RankedTable,
    /// Progress per source partition.
    pub(super) applied: RankedTable,
    /// Is told of reads.
    pub(super) observer: Observer,
}

/// A table of rows whose cells have timestamps.
#[derive(Debug)]
pub(super) struct DerivedTable {
    pub(super) spec: &'static Table,
    pub(super) slot: RankedTable,
    /// Is told of reads.
    observer: Observer,
}

/// A write for the writer, with its row found, so that the writer only has to merge it.
#[derive(Debug)]
pub(super) struct PlacedWrite {
    /// The table's index in [`tables::ALL`].
    pub(super) table: usize,
    pub(super) key: Bytes,
    pub(super) write: CellWrites,
}

/// A range of a table: its lower and its upper bound.
pub(super) type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl Derived {
    /// Opens the tables of an incarnation; those of a new one are empty.
    pub(super) fn open(
        database: &Database,
        incarnation: u32,
        beside: bool,
        observer: Observer,
    ) -> Result<Self, StoreError> {
        let slot = |rank: u32, name: &str| -> Result<RankedTable, StoreError> {
            let table = database.table(&format!("store/i{incarnation}/{name}")).map_err(broken)?;
            Ok(RankedTable { rank: incarnation.saturating_mul(RANKS).saturating_add(rank), table })
        };
        let mut tables = Vec::with_capacity(tables::ALL.len());
        for (rank, spec) in (0..).zip(tables::ALL) {
            tables.push(DerivedTable { spec, slot: slot(rank, spec.name)?, observer: observer.clone() });
        }
        let (holds, applied) = (slot(RANK_HOLDS, "holds")?, slot(RANK_APPLIED, "applied")?);
        Ok(Self { incarnation, beside, tables, holds, applied, observer })
    }

    /// Whether these tables may be used while `current` is the store's incarnation.
    pub(super) fn check(&self, current: u32) -> Result<(), StoreError> {
        if self.beside || current == self.incarnation {
            Ok(())
        } else {
            Err(StoreError::Incarnation { pinned: self.incarnation, found: current })
        }
    }

    pub(super) fn table(&self, spec: &'static Table) -> &DerivedTable {
        &self.tables[position(spec)]
    }

    pub(super) fn at(&self, position: usize) -> &DerivedTable {
        &self.tables[position]
    }
}

fn position(spec: &'static Table) -> usize {
    let found = tables::ALL.iter().position(|table| table.name == spec.name);
    found.expect("every table stands in the list")
}

impl PlacedWrite {
    /// # Errors
    /// When the write does not match its table, which only a bug can cause.
    pub(super) fn of(write: CellWrites) -> Result<Self, StoreError> {
        write.fits().map_err(broken)?;
        Ok(Self { table: position(write.table()), key: Bytes::copy_from_slice(write.key_bytes()), write })
    }
}

impl DerivedTable {
    /// The row with that key.
    pub(super) fn get(&self, key: &[ValueRef<'_>]) -> Result<Option<RowValues>, StoreError> {
        let key = row::key(key);
        let found = self.found(&key)?;
        Ok(found.map(|found| row::values(self.spec, &key, &found)).transpose()?)
    }

    fn found(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.observer.observed(Op::Read, || self.slot.table.get(key).map_err(broken))
    }

    /// The canonical bytes of the row with that key.
    pub(super) fn canonical(&self, key: &[ValueRef<'_>]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = row::key(key);
        let found = self.found(&key)?;
        Ok(found.map(|found| row::canonical(self.spec, &key, &found)).transpose()?)
    }

    /// At most `limit` rows of a range, from its beginning or, with `back`, from its end.
    pub(super) fn rows(&self, range: &Range, limit: usize, back: bool) -> Result<Vec<RowValues>, StoreError> {
        let pairs = self.pairs(range, limit, back)?;
        Ok(pairs.iter().map(|(key, row)| row::values(self.spec, key, row)).collect::<Result<_, _>>()?)
    }

    pub(super) fn pairs(&self, (from, to): &Range, limit: usize, back: bool) -> Result<Vec<kv::Pair>, StoreError> {
        let table = &self.slot.table;
        let (from, to) = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        self.observer.observed(Op::Page, || {
            if back { table.scan_back(from, to, limit) } else { table.scan(from, to, limit) }.map_err(broken)
        })
    }

    /// Passes the rows of a range to `each`, in order or, with `back`, from its end, until `each` breaks or the
    /// range ends.
    ///
    /// Reads `first` rows at once, then more: pass the number that is probably needed.
    pub(super) async fn each<B>(
        &self,
        mut range: Range,
        back: bool,
        first: usize,
        mut each: impl FnMut(RowValues) -> Result<ControlFlow<B>, StoreError> + Send,
    ) -> Result<Option<B>, StoreError> {
        let mut limit = first.clamp(1, READ_ROWS_MAX);
        loop {
            let pairs = self.pairs(&range, limit, back)?;
            for (key, row) in &pairs {
                if let ControlFlow::Break(found) = each(row::values(self.spec, key, row)?)? {
                    return Ok(Some(found));
                }
            }
            let Some((last, _)) = pairs.last().filter(|_| pairs.len() == limit) else { return Ok(None) };
            let edge = Bound::Excluded(last.to_vec());
            if back {
                range.1 = edge
            } else {
                range.0 = edge
            }
            limit = (limit * 4).min(READ_ROWS_MAX);
            tokio::task::yield_now().await;
        }
    }
}

/// The rows whose keys begin with these values.
pub(super) fn under(prefix: &[ValueRef<'_>]) -> Range {
    let prefix = row::key(prefix);
    let end = kv::end_of_prefix(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(prefix), end)
}
