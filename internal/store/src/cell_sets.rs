//! A cell set: cells that are written together. The list of all of them is [`CELL_SETS`], beside the rows.
//!
//! Engines accept writes of these sets only. A CQL handle prepares one statement for each set when it is opened
//! and none later, so the list bounds its statements.

use crate::CELL_SETS;
use crate::tables::{CELLS_MAX, Column, Table};

/// The order of writes: all cells of a phase are written before any of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Timeline and version rows.
    Rows,
    /// Id rows.
    Ids,
    /// Head rows and read marks: they name rows of the earlier phases.
    Heads,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 3] = [Self::Rows, Self::Ids, Self::Heads];
}

/// Cells of one row that are written together, with one timestamp.
#[derive(Debug, PartialEq, Eq)]
pub struct CellSet {
    /// The table.
    pub table: &'static Table,
    /// The cells, by name. A write names all of them in this order; it may leave some unset.
    pub cells: &'static [&'static str],
    /// The phase in which they are written.
    pub phase: Phase,
    /// Whether nearly every event of a conversation, or of an author, overwrites the row, so that of a batch only
    /// the newest write is needed.
    pub newest_only: bool,
    /// Of each cell, its index among the table's cells.
    indices: [u8; CELLS_MAX],
}

impl CellSet {
    /// Its index in [`CELL_SETS`].
    ///
    /// # Panics
    /// When the set is not in the list.
    #[must_use]
    pub fn number(&'static self) -> usize {
        CELL_SETS.into_iter().position(|set| std::ptr::eq(set, self)).expect("every set stands in the list")
    }
}

impl CellSet {
    /// The cells of the set, in its order: the index among the table's cells, and the column.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (u8, &'static Column)> {
        let table = self.table;
        let indices = self.indices.iter().take(self.cells.len());
        indices.filter_map(|index| Some((*index, table.cells.get(usize::from(*index))?)))
    }
}

pub(crate) const fn set(table: &'static Table, phase: Phase, cells: &'static [&'static str]) -> CellSet {
    CellSet { table, cells, phase, newest_only: false, indices: indices(table, cells) }
}

pub(crate) const fn newest_of(table: &'static Table, phase: Phase, cells: &'static [&'static str]) -> CellSet {
    CellSet { table, cells, phase, newest_only: true, indices: indices(table, cells) }
}

/// A set with a cell of no column does not compile.
const fn indices(table: &Table, cells: &[&str]) -> [u8; CELLS_MAX] {
    let mut indices = [0; CELLS_MAX];
    let mut at = 0;
    while at < cells.len() {
        let mut index = 0;
        while !same(table.cells[index as usize].name, cells[at]) {
            index += 1;
        }
        indices[at] = index;
        at += 1;
    }
    indices
}

/// `==`, which does not exist in a `const fn`.
const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tables;

    /// When you add a column, add it to the write that sets it.
    #[test]
    fn every_cell_of_every_table_is_written_by_some_set() {
        let written: BTreeSet<(&str, &str)> =
            CELL_SETS.iter().flat_map(|set| set.cells.iter().map(|cell| (set.table.name, *cell))).collect();
        let there: BTreeSet<(&str, &str)> =
            tables::ALL.iter().flat_map(|table| table.cells.iter().map(|cell| (table.name, cell.name))).collect();
        assert_eq!(written, there);
    }

    #[test]
    fn no_two_sets_are_the_same_and_each_knows_its_number() {
        for (number, set) in CELL_SETS.into_iter().enumerate() {
            assert_eq!(set.number(), number);
            assert!(CELL_SETS.iter().filter(|other| **other == set).count() == 1, "{set:?}");
            assert!(set.cells.iter().collect::<BTreeSet<_>>().len() == set.cells.len(), "{set:?}");
        }
    }

    /// The embedded engine makes a batch visible table by table, in this order.
    #[test]
    fn tables_of_an_earlier_phase_stand_before_those_of_a_later_one() {
        let phases = tables::ALL.map(|table| {
            let phases: BTreeSet<Phase> =
                CELL_SETS.iter().filter(|set| set.table == table).map(|set| set.phase).collect();
            assert_eq!(phases.len(), 1, "all cells of {} are of one phase", table.name);
            phases
        });
        assert!(phases.is_sorted());
    }
}
