//! A write as engines receive it: some cells of one row, with a timestamp. Engines need no other knowledge of
//! events.

use crate::Value;
use crate::cell_sets::{CellSet, Phase};
use crate::tables::Table;

/// The approximate overhead of a write, and of each of its values, in bytes on the wire in CQL.
const WRITE_BYTES: usize = 32;
const VALUE_BYTES: usize = 4;

/// Cells of one row, all with one timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellWrites {
    /// The cell set: it determines the table, the allowed cells and the phase.
    pub set: &'static CellSet,
    /// The key, in the order of [`Table::key`].
    pub key: Vec<Value>,
    /// The timestamp in microseconds, as in CQL: the event's seq; for a monotone cell, its own value.
    pub timestamp: i64,
    /// The cells by name, in the order of the set. A cell that is left out is not written.
    pub cells: Vec<(&'static str, Value)>,
}

/// A write does not match its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a write to {table} does not fit: {what}")]
pub struct Unfit {
    /// The table.
    pub table: &'static str,
    /// What does not fit.
    pub what: &'static str,
}

impl CellWrites {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &'static Table {
        self.set.table
    }

    /// The phase of the write.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.set.phase
    }

    /// The partition of the row in its table: the first values of its key.
    #[must_use]
    pub fn partition(&self) -> &[Value] {
        let columns = self.table().partition_key.len();
        self.key.get(..columns).unwrap_or(&self.key)
    }

    /// Checks that the table has this key and these cells, and that the set names them in this order.
    ///
    /// # Errors
    /// What does not match. Engines refuse such a write.
    pub fn fits(&self) -> Result<(), Unfit> {
        let (table, cells) = (self.table(), &self.cells);
        let unfit = |what| Err(Unfit { table: table.name, what });
        if !table.key().map(|column| column.kind).eq(self.key.iter().map(Value::kind)) {
            return unfit("its key has other columns");
        }
        let mut named = self.set.cells.iter();
        for (name, value) in cells {
            if !named.any(|cell| cell == name) {
                return unfit("it has other cells, or in another order");
            }
            let Some(column) = table.cell(name).and_then(|at| table.cells.get(at)) else {
                return unfit("it has a cell of no column");
            };
            if column.kind != value.kind() {
                return unfit("a cell has a value of another type");
            }
        }
        Ok(())
    }

    /// The approximate size of the write in a batch, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = |value: &Value| VALUE_BYTES + value.len();
        let key: usize = self.key.iter().map(bytes).sum();
        let cells: usize = self.cells.iter().map(|(_, value)| bytes(value)).sum();
        WRITE_BYTES + key + cells
    }
}

impl CellSet {
    /// A write of these cells to the row with that key.
    pub(crate) fn write(
        &'static self,
        timestamp: i64,
        key: impl Into<Vec<Value>>,
        cells: impl Into<Vec<(&'static str, Value)>>,
    ) -> CellWrites {
        CellWrites { set: self, key: key.into(), timestamp, cells: cells.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{EDIT, HEAD};
    use crate::tables::{ColumnType, HEADS};

    fn values(kinds: &[ColumnType]) -> Vec<Value> {
        let of = |kind: &ColumnType| match kind {
            ColumnType::Uuid => uuid::Uuid::nil().into(),
            ColumnType::Bigint => 1_u64.into(),
            ColumnType::Text => "a".into(),
            ColumnType::Boolean => true.into(),
            ColumnType::Blob => vec![1].into(),
        };
        kinds.iter().map(of).collect()
    }

    fn edit(cells: Vec<(&'static str, Value)>) -> CellWrites {
        EDIT.write(1, values(&[ColumnType::Uuid, ColumnType::Bigint, ColumnType::Bigint]), cells)
    }

    #[test]
    fn what_is_of_its_table_fits_whole_or_in_part() {
        let whole = vec![("body", "b".into()), ("changed", 1_u64.into()), ("edited", 1_u64.into())];
        assert_eq!(edit(whole.clone()).fits(), Ok(()));
        assert_eq!(edit(whole[1..2].to_vec()).fits(), Ok(()));
        assert_eq!(edit(Vec::new()).fits(), Ok(()));
    }

    #[test]
    fn what_is_not_of_its_table_does_not_fit() {
        let (body, changed) = (("body", Value::from("b")), ("changed", Value::from(1_u64)));
        let no_column = CellSet { table: &HEADS, cells: &["nothing"], phase: Phase::Heads, newest_only: false };
        let no_column =
            Box::leak(Box::new(no_column)).write(1, values(&[ColumnType::Uuid]), [("nothing", true.into())]);
        let short = HEAD.write(1, Vec::new(), Vec::new());
        for (write, what) in [
            (edit(vec![changed.clone(), body.clone()]), "another order"),
            (edit(vec![body.clone(), body.clone()]), "another order"),
            (edit(vec![("title", "t".into())]), "other cells"),
            (edit(vec![("body", 1_u64.into())]), "another type"),
            (edit(vec![(body.0, body.1), ("changed", "1".into())]), "another type"),
            (no_column, "no column"),
            (short, "key"),
            (HEAD.write(1, values(&[ColumnType::Text]), Vec::new()), "key"),
        ] {
            let unfit = write.fits().unwrap_err();
            assert!(unfit.what.contains(what), "{unfit}: {write:?}");
        }
    }
}
