//! Compares one row of two incarnations: the same, different, or still changing.
//!
//! A cell's timestamp is the seq of the event that wrote it. So the comparison is exact, cell by cell, even while
//! both incarnations change: a served cell whose seq the other incarnation has applied must be there, byte for byte.
//! A cell with a later seq proves nothing yet.

use std::collections::BTreeMap;

use store::canonical::{Part, decode};
use store::tables::{HEADS, MARKS, Table};
use store::{StoreError, Value};

/// The result of comparing a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Equal, byte for byte.
    Same,
    /// The cells that differ are later than what both incarnations have applied.
    OnItsWay,
    /// These cells differ.
    Differs(Vec<&'static str>),
}

/// The columns of a row.
pub(super) struct Row<'a> {
    keys: BTreeMap<&'a str, &'a [u8]>,
    cells: BTreeMap<&'a str, (&'a [u8], i64)>,
}

impl<'a> Row<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, StoreError> {
        let columns = decode(bytes).ok_or_else(|| StoreError::Broken("a row's canonical bytes are none".into()))?;
        let mut row = Self { keys: BTreeMap::new(), cells: BTreeMap::new() };
        for (name, part) in columns {
            match part {
                Part::Key(value) => drop(row.keys.insert(name, value)),
                Part::Cell { value, timestamp } => drop(row.cells.insert(name, (value, timestamp))),
            }
        }
        Ok(row)
    }

    /// The row's key, in the table's order.
    pub(super) fn key(&self, table: &Table) -> Result<Vec<Value>, StoreError> {
        let value = |column: &store::tables::Column| {
            let bytes = self.keys.get(column.name);
            bytes.and_then(|bytes| Value::decode(column.kind, bytes))
        };
        let key: Option<Vec<Value>> = table.key().map(value).collect();
        key.ok_or_else(|| StoreError::Broken("a row lacks part of its key".into()))
    }
}

/// Compares a row of the served incarnation with the row of the same key beside. The incarnation beside has applied
/// everything up to `as_of`, and had written nothing later to the row when it was read.
pub(super) fn verdict(table: &Table, served: &[u8], beside: Option<&[u8]>, as_of: i64) -> Result<Verdict, StoreError> {
    if beside == Some(served) {
        return Ok(Verdict::Same);
    }
    let served = Row::read(served)?;
    let beside = beside.map(Row::read).transpose()?;
    let (mut differ, mut on_their_way) = (Vec::new(), false);
    for column in table.cells {
        let (here, there) = (served.cells.get(column.name), beside.as_ref().and_then(|row| row.cells.get(column.name)));
        if here == there {
            continue;
        }
        let younger = here.is_some_and(|(_, timestamp)| *timestamp > as_of);
        if monotone(table, column.name) || younger {
            on_their_way = true;
        } else {
            differ.push(column.name);
        }
    }
    Ok(match (differ.is_empty(), on_their_way) {
        (false, _) => Verdict::Differs(differ),
        (true, true) => Verdict::OnItsWay,
        // The row consists of its key only.
        (true, false) => Verdict::Differs(Vec::new()),
    })
}

/// Whether the cell's timestamp is its value instead of an event's seq.
fn monotone(table: &Table, cell: &str) -> bool {
    table.name == MARKS.name || (table.name == HEADS.name && cell == "newest_stamp")
}

#[cfg(test)]
mod tests {
    use store::canonical::encode;

    use super::*;

    fn head(seq: i64, slot: &[u8], stamp: i64) -> Vec<u8> {
        encode(&[
            ("conversation", Part::Key(&[7; 16])),
            ("seq", Part::Cell { value: &seq.to_be_bytes(), timestamp: seq }),
            ("place", Part::Cell { value: slot, timestamp: 3 }),
            ("newest_stamp", Part::Cell { value: &stamp.to_be_bytes(), timestamp: stamp }),
        ])
    }

    #[test]
    fn what_both_have_applied_must_be_the_same_and_what_came_since_says_nothing() {
        let of = |served: &[u8], beside: Option<&[u8]>, as_of| verdict(&HEADS, served, beside, as_of).unwrap();
        let one = head(5, &[1], 1 << 40);
        assert_eq!(of(&one, Some(&one), 0), Verdict::Same);
        // Written later: the incarnation beside has applied up to 4.
        assert_eq!(of(&head(5, &[1], 2 << 40), Some(&head(2, &[1], 1 << 40)), 4), Verdict::OnItsWay);
        // Not written later: the incarnation beside has applied it, and has another value.
        assert_eq!(of(&head(5, &[1], 1 << 40), Some(&head(2, &[1], 1 << 40)), 5), Verdict::Differs(vec!["seq"]));
        assert_eq!(of(&head(9, &[1], 1 << 40), Some(&head(2, &[2], 1 << 40)), 5), Verdict::Differs(vec!["place"]));
        assert_eq!(of(&one, None, 2), Verdict::OnItsWay);
        assert_eq!(of(&one, None, 4), Verdict::Differs(vec!["place"]));
        // A cell that exists only beside.
        let less = encode(&[("conversation", Part::Key(&[7; 16]))]);
        assert!(matches!(of(&less, Some(&one), 9), Verdict::Differs(_)));
        assert_eq!(Row::read(&one).unwrap().key(&HEADS).unwrap().len(), 1);
    }
}
