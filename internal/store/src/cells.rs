//! A write as engines take it: some cells of one row, with their timestamp. Engines know nothing else of what happens.

use crate::Value;
use crate::cell_sets::{CellSet, Phase};
use crate::tables::Table;

/// Bytes that a write takes besides its values, and each value besides itself, about: as CQL sends them.
const WRITE_BYTES: usize = 32;
const VALUE_BYTES: usize = 4;

/// Cells of one row, all with one timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellWrites {
    /// Which cells these may be, of which table, and when they may be written.
    pub set: &'static CellSet,
    /// The key, in the order of [`Table::key`].
    pub key: Vec<Value>,
    /// Microseconds, as in CQL: the event's seq; of a monotone cell its own value.
    pub timestamp: i64,
    /// The cells by name, in the order of the set. One that is not named is not written.
    pub cells: Vec<(&'static str, Value)>,
}

impl CellWrites {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &'static Table {
        self.set.table
    }

    /// When it may be written.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.set.phase
    }

    /// The partition of the table that the row is in: the beginning of its key.
    #[must_use]
    pub fn partition(&self) -> &[Value] {
        let columns = self.table().partition_key.len();
        self.key.get(..columns).unwrap_or(&self.key)
    }

    /// About how many bytes it takes in a batch.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let values = self.key.iter().chain(self.cells.iter().map(|(_, value)| value));
        WRITE_BYTES + values.map(|value| VALUE_BYTES + value.len()).sum::<usize>()
    }
}

impl CellSet {
    /// Cells of the set, of the row of that key.
    pub(crate) fn write(
        &'static self,
        timestamp: i64,
        key: impl Into<Vec<Value>>,
        cells: impl Into<Vec<(&'static str, Value)>>,
    ) -> CellWrites {
        CellWrites { set: self, key: key.into(), timestamp, cells: cells.into() }
    }
}
