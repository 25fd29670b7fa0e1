//! The bytes of a row: its cells with their timestamps, and how they merge.
//!
//! Each cell: its index among the table's cells (1 byte), timestamp (8), length of the value (4), value; sorted by
//! index, absent cells left out. Numbers are big-endian.

use crate::tables::{CELLS_MAX, Table};
use crate::{Malformed, RowValues, Value, ValueRef, canonical};

/// A stored cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cell<'a> {
    // Compared in this order, as in CQL: the later timestamp wins; on a tie, the larger bytes.
    timestamp: i64,
    value: &'a [u8],
}

type Cells<'a> = [Option<Cell<'a>>; CELLS_MAX];

/// The row after merging `writes`, all of `timestamp`, into `old` (empty: no row): values by their index among the
/// table's cells. `None` when that changes nothing.
pub(super) fn merge<'a>(
    old: &'a [u8],
    timestamp: i64,
    writes: impl Iterator<Item = (u8, &'a [u8])>,
) -> Result<Option<Vec<u8>>, Malformed> {
    let mut cells = parse(old)?;
    let mut changed = false;
    for (index, value) in writes {
        let cell = Some(Cell { timestamp, value });
        let slot = cells.get_mut(usize::from(index)).ok_or(MALFORMED)?;
        if *slot < cell {
            *slot = cell;
            changed = true;
        }
    }
    Ok(changed.then(|| encode(&cells)))
}

/// The row's columns as typed values.
pub(super) fn values(table: &'static Table, key: &[u8], row: &[u8]) -> Result<RowValues, Malformed> {
    let mut values = Vec::with_capacity(CELLS_MAX);
    for (column, part) in table.key().zip(key_parts(table, key)?) {
        let value = Value::decode(column.kind, part);
        values.push(Some(value.ok_or(Malformed { table: table.name, column: column.name })?));
    }
    for (column, cell) in table.cells.iter().zip(parse(row)?) {
        let value = cell.map(|cell| {
            let value = Value::decode(column.kind, cell.value);
            value.ok_or(Malformed { table: table.name, column: column.name })
        });
        values.push(value.transpose()?);
    }
    Ok(RowValues::new(table, values))
}

/// The row's canonical bytes.
pub(super) fn canonical(table: &'static Table, key: &[u8], row: &[u8]) -> Result<Vec<u8>, Malformed> {
    let keys = key_parts(table, key)?;
    let mut columns: Vec<(&str, canonical::Part<'_>)> =
        table.key().zip(keys).map(|(column, part)| (column.name, canonical::Part::Key(part))).collect();
    for (column, cell) in table.cells.iter().zip(parse(row)?) {
        let part = cell.map(|Cell { timestamp, value }| canonical::Part::Cell { value, timestamp });
        columns.extend(part.map(|part| (column.name, part)));
    }
    Ok(canonical::encode(&columns))
}

/// The bytes of a key: its columns one after another. All but blobs have a fixed width, and a blob is always last.
pub(super) fn key(values: &[ValueRef<'_>]) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    for value in values {
        value.encode(&mut key);
    }
    key
}

fn key_parts<'a>(table: &'static Table, key: &'a [u8]) -> Result<Vec<&'a [u8]>, Malformed> {
    let parts: Vec<&[u8]> = table.split_key(key).map(|(_, value)| value).collect();
    match table.key().nth(parts.len()) {
        None => Ok(parts),
        Some(column) => Err(Malformed { table: table.name, column: column.name }),
    }
}

/// The parser does not know the table, but callers treat the error alike for all tables.
const MALFORMED: Malformed = Malformed { table: "a derived table", column: "(its cells)" };

fn parse(mut row: &[u8]) -> Result<Cells<'_>, Malformed> {
    let mut cells = [None; CELLS_MAX];
    while !row.is_empty() {
        let (head, rest) = row.split_first_chunk::<13>().ok_or(MALFORMED)?;
        let [index, timestamp @ .., l0, l1, l2, l3] = *head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let (value, rest) = rest.split_at_checked(length).ok_or(MALFORMED)?;
        let slot = cells.get_mut(usize::from(index)).ok_or(MALFORMED)?;
        *slot = Some(Cell { timestamp: i64::from_be_bytes(timestamp), value });
        row = rest;
    }
    Ok(cells)
}

#[allow(clippy::cast_possible_truncation)] // at most CELLS_MAX cells; a body has 16 KiB
fn encode(cells: &Cells<'_>) -> Vec<u8> {
    let size = cells.iter().flatten().map(|cell| 13 + cell.value.len()).sum();
    let mut out = Vec::with_capacity(size);
    for (index, cell) in cells.iter().enumerate() {
        let Some(Cell { timestamp, value }) = cell else { continue };
        out.push(index as u8);
        out.extend(timestamp.to_be_bytes());
        out.extend((value.len() as u32).to_be_bytes());
        out.extend(*value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(old: &[u8], timestamp: i64, writes: &[(u8, &[u8])]) -> Option<Vec<u8>> {
        merge(old, timestamp, writes.iter().copied()).unwrap()
    }

    #[test]
    fn the_later_cell_stands_and_on_a_tie_the_larger_bytes() {
        let row = merged(&[], 5, &[(0, b"b"), (3, b"x")]).unwrap();
        assert_eq!(merged(&row, 4, &[(0, b"z"), (3, b"z")]), None, "older");
        assert_eq!(merged(&row, 5, &[(0, b"a"), (3, b"x")]), None, "a tie, smaller or the same");
        let tie = merged(&row, 5, &[(0, b"ba")]).unwrap();
        assert_eq!(parse(&tie).unwrap()[0], Some(Cell { timestamp: 5, value: b"ba" }));
        let newer = merged(&tie, 6, &[(0, b"")]).unwrap();
        let cells = parse(&newer).unwrap();
        assert_eq!((cells[0].unwrap().timestamp, cells[0].unwrap().value), (6, &b""[..]));
        assert_eq!(cells[3], Some(Cell { timestamp: 5, value: b"x" }), "each cell by itself");
        assert!(parse(&newer[..newer.len() - 1]).is_err());
    }

    #[test]
    fn every_table_has_room() {
        for table in crate::tables::ALL {
            assert!(table.cells.len() <= CELLS_MAX);
            let blob = table.key().position(|column| column.kind == crate::tables::ColumnType::Blob);
            assert!(blob.is_none_or(|at| at + 1 == table.key().count()), "a blob stands last in a key");
        }
    }
}
