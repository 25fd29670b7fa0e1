//! A write as engines receive it: some cells of one row, with a timestamp, encoded as every engine stores them.
//! Engines need no other knowledge of events.

use std::fmt;

use crate::cell_sets::{CellSet, Phase};
use crate::tables::{Column, Table};
use crate::{Value, ValueRef};

/// The approximate overhead of a write in a batch, in bytes on the wire in CQL.
const WRITE_BYTES: usize = 32;
/// The bytes of the length before each cell's value; this length marks a cell that is not written.
const LENGTH_BYTES: usize = 4;
const UNSET: u32 = u32::MAX;

/// Cells of one row, all with one timestamp.
#[derive(Clone, PartialEq, Eq)]
pub struct CellWrites {
    set: &'static CellSet,
    /// The timestamp in microseconds, as in CQL: the event's seq; for a monotone cell, its own value.
    pub timestamp: i64,
    /// The values of the key, one after another, then those of the set's cells, each after its length. One buffer,
    /// because a busy consumer makes and drops a hundred thousand of these a second.
    bytes: Vec<u8>,
    /// The bytes of the key.
    key: usize,
    unfit: Option<&'static str>,
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

impl CellSet {
    /// A write to the row with that key, whose values are in the order of [`Table::key`]. `cells` are all cells of
    /// the set in its order, by name; those that are [`ValueRef::Unset`] are not written.
    ///
    /// # Panics
    /// When a value has 4 GiB, which no store holds.
    #[must_use]
    pub fn write(&'static self, timestamp: i64, key: &[ValueRef<'_>], cells: &[(&str, ValueRef<'_>)]) -> CellWrites {
        let unfit = self.unfit(key, cells);
        let key_bytes = key.iter().map(ValueRef::len).sum();
        let cell_bytes: usize = cells.iter().map(|(_, value)| LENGTH_BYTES + value.len()).sum();
        let mut bytes = Vec::with_capacity(key_bytes + cell_bytes);
        key.iter().for_each(|value| value.encode(&mut bytes));
        for (_, value) in cells {
            let length = match value {
                ValueRef::Unset => UNSET,
                value => u32::try_from(value.len()).expect("a value fits in memory many times"),
            };
            bytes.extend_from_slice(&length.to_be_bytes());
            value.encode(&mut bytes);
        }
        CellWrites { set: self, timestamp, bytes, key: key_bytes, unfit }
    }

    /// What does not match the table or the set, if anything.
    fn unfit(&self, key: &[ValueRef<'_>], cells: &[(&str, ValueRef<'_>)]) -> Option<&'static str> {
        let fits = |column: &Column, value: &ValueRef<'_>| *value != ValueRef::Unset && value.fits(column.kind);
        if key.len() != self.table.key().count()
            || !self.table.key().zip(key).all(|(column, value)| fits(column, value))
        {
            return Some("its key has other columns");
        }
        if !self.cells.iter().eq(cells.iter().map(|(name, _)| name)) {
            return Some("it has other cells, or in another order");
        }
        let fit = self.columns().zip(cells).all(|((_, column), (_, value))| value.fits(column.kind));
        (!fit).then_some("a cell has a value of another type")
    }
}

impl CellWrites {
    /// The cell set: it determines the table, the allowed cells and the phase.
    #[must_use]
    pub const fn set(&self) -> &'static CellSet {
        self.set
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &'static Table {
        self.set.table
    }

    /// The phase of the write.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.set.phase
    }

    /// Checks that the table has this key and these cells, and that the set names them in this order.
    ///
    /// # Errors
    /// What does not match. Engines refuse such a write.
    pub fn fits(&self) -> Result<(), Unfit> {
        self.unfit.map_or(Ok(()), |what| Err(Unfit { table: self.table().name, what }))
    }

    /// The values of the key, one after another.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        self.bytes.get(..self.key).unwrap_or_default()
    }

    /// The columns of the key with their values.
    pub fn key(&self) -> impl Iterator<Item = (&'static Column, &[u8])> {
        self.table().split_key(self.key_bytes())
    }

    /// The partition of the row in its table: the first values of its key.
    #[must_use]
    pub fn partition(&self) -> &[u8] {
        let columns = self.table().partition_key.len();
        let bytes = self.key().take(columns).map(|(_, value)| value.len()).sum();
        self.bytes.get(..bytes).unwrap_or_default()
    }

    /// The values of all cells of the set, in its order; `None` for a cell that is not written.
    pub fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = self.bytes.get(self.key..).unwrap_or_default();
        self.set.cells.iter().map_while(move |_| {
            let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let length = Some(u32::from_be_bytes(*length)).filter(|length| *length != UNSET);
            let (value, after) = after.split_at_checked(length.unwrap_or_default() as usize)?;
            rest = after;
            Some(length.map(|_| value))
        })
    }

    /// The cells that are written: the index among the table's cells, the column, and the value.
    pub fn cells(&self) -> impl Iterator<Item = (u8, &'static Column, &[u8])> {
        let all = self.set.columns().zip(self.values());
        all.filter_map(|((index, column), value)| Some((index, column, value?)))
    }

    /// The approximate size of the write in a batch, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        WRITE_BYTES + self.bytes.len()
    }
}

/// As [`Value`] shows them: of a text only the length.
impl fmt::Debug for CellWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(column, value): (&Column, &[u8])| (column.name, Value::decode(column.kind, value));
        let key: Vec<_> = self.key().map(shown).collect();
        let cells: Vec<_> = self.cells().map(|(_, column, value)| shown((column, value))).collect();
        let mut out = f.debug_struct("CellWrites");
        out.field("table", &self.table().name).field("key", &key).field("timestamp", &self.timestamp);
        out.field("cells", &cells).field("unfit", &self.unfit).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::EDIT;
    use crate::tables::ColumnType;

    const KEY: [ValueRef<'_>; 3] = [ValueRef::Uuid(uuid::Uuid::nil()), ValueRef::Bigint(2), ValueRef::Bigint(3)];

    fn cells<'a>(
        body: impl Into<ValueRef<'a>>,
        changed: impl Into<ValueRef<'a>>,
        edited: impl Into<ValueRef<'a>>,
    ) -> [(&'static str, ValueRef<'a>); 6] {
        let [mentions, kind, data] = ["mentions", "custom_kind", "custom_data"].map(|name| (name, ValueRef::Unset));
        [("body", body.into()), ("changed", changed.into()), ("edited", edited.into()), mentions, kind, data]
    }

    #[test]
    fn what_is_written_comes_back_and_what_is_unset_does_not() {
        let whole = EDIT.write(1, &KEY, &cells("b", 4_u64, 5_u64));
        assert_eq!(whole.fits(), Ok(()));
        let read = |write: &CellWrites| -> Vec<(&str, Option<Value>)> {
            let key = write.key().map(|(column, value)| (column.name, Value::decode(column.kind, value)));
            key.chain(write.cells().map(|(_, column, value)| (column.name, Value::decode(column.kind, value))))
                .collect()
        };
        let key =
            [("conversation", Some(uuid::Uuid::nil().into())), ("bucket", Some(2.into())), ("seq", Some(3.into()))];
        let written = [("body", Some("b".into())), ("changed", Some(4.into())), ("edited", Some(5.into()))];
        assert_eq!(read(&whole), [key.clone(), written].concat());
        assert_eq!(whole.partition(), &whole.key_bytes()[..24]);
        let part = EDIT.write(1, &KEY, &cells("", ValueRef::Unset, 5_u64));
        assert_eq!(part.fits(), Ok(()));
        assert_eq!(read(&part), [&key[..], &[("body", Some("".into())), ("edited", Some(5.into()))]].concat());
        assert_eq!(
            part.values().map(|value| value.map(<[u8]>::len)).collect::<Vec<_>>(),
            [Some(0), None, Some(8), None, None, None]
        );
        for (index, column, _) in whole.cells() {
            assert_eq!(&crate::tables::TIMELINE.cells[usize::from(index)], column);
        }
    }

    #[test]
    fn what_is_not_of_its_table_does_not_fit() {
        let whole = cells("b", 4_u64, 5_u64);
        let [body, changed, edited, mentions, kind, data] = whole;
        let (no_id, text) = (ValueRef::Unset, ValueRef::Text("1"));
        for (write, what) in [
            (EDIT.write(1, &KEY, &[changed, body, edited, mentions, kind, data]), "another order"),
            (EDIT.write(1, &KEY, &[body, body, edited, mentions, kind, data]), "another order"),
            (EDIT.write(1, &KEY, &whole[..2]), "other cells"),
            (EDIT.write(1, &KEY, &[body, changed, edited, mentions, kind, data, data]), "other cells"),
            (EDIT.write(1, &KEY, &cells(1_u64, 4_u64, 5_u64)), "another type"),
            (EDIT.write(1, &KEY, &cells("b", "1", 5_u64)), "another type"),
            (EDIT.write(1, &[], &whole), "key"),
            (EDIT.write(1, &KEY[..2], &whole), "key"),
            (EDIT.write(1, &[no_id, KEY[1], KEY[2]], &whole), "key"),
            (EDIT.write(1, &[KEY[0], KEY[1], text], &whole), "key"),
        ] {
            let unfit = write.fits().unwrap_err();
            assert!(unfit.what.contains(what), "{unfit}: {write:?}");
        }
    }

    #[test]
    fn every_type_fits_a_column_of_its_own_only() {
        use ColumnType::{Bigint, Blob, Boolean, Text, Uuid};
        let values = [KEY[0], KEY[1], "a".into(), true.into(), ValueRef::Blob(&[1])];
        for (at, value) in values.into_iter().enumerate() {
            assert_eq!(
                [Uuid, Bigint, Text, Boolean, Blob].map(|kind| value.fits(kind)),
                std::array::from_fn(|i| i == at)
            );
        }
    }
}
