//! The statements for cell writes: one for each cell set, prepared once, with its values.

use scylla::frame::response::result::ColumnType;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, RowWriter};
use scylla::statement::prepared::PreparedStatement;
use store::{CELL_SETS, CellSet};
use store::{CellWrites, StoreError, Value};

use crate::cql::{Cql, Kind};

/// The statement of each set, in the order of [`CELL_SETS`].
pub(crate) struct Statements(Vec<PreparedStatement>);

impl Statements {
    pub(crate) async fn prepare(cql: &Cql) -> Result<Self, StoreError> {
        let mut statements = Vec::with_capacity(CELL_SETS.len());
        for set in CELL_SETS {
            statements.push(cql.prepare(Kind::Idempotent, &text(set)).await?);
        }
        Ok(Self(statements))
    }

    pub(crate) fn of(&self, write: &CellWrites) -> &PreparedStatement {
        &self.0[write.set.number()]
    }
}

/// Every write is an `INSERT`, which is an upsert of exactly the cells that the write has: cells that it leaves
/// out are unset. An `INSERT` also marks the row as existing; that has no meaning here, because a partial row
/// reads as absent.
fn text(set: &CellSet) -> String {
    let columns: Vec<&str> = set.table.key().map(|column| column.name).chain(set.cells.iter().copied()).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    format!("INSERT INTO {{derived}}.{} ({}) VALUES ({marks}) USING TIMESTAMP ?", set.table.name, columns.join(", "))
}

/// A write as the values of its statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'a>(pub(crate) &'a CellWrites);

/// A write does not match its statement.
#[derive(Debug, thiserror::Error)]
#[error("a write to {table} does not fit its statement: {what}")]
struct Unfit {
    table: &'static str,
    what: &'static str,
}

impl SerializeRow for Bound<'_> {
    fn serialize(&self, ctx: &RowSerializationContext<'_>, out: &mut RowWriter<'_>) -> Result<(), SerializationError> {
        let CellWrites { set, key, timestamp, cells } = self.0;
        let unfit = |what| SerializationError::new(Unfit { table: set.table.name, what });
        let mut types = ctx.columns().iter().map(|column| column.typ());
        let mut next = || types.next().ok_or_else(|| unfit("it has more values"));
        for value in key {
            put(value, next()?, out.make_cell_writer())?;
        }
        let mut cells = cells.iter().peekable();
        for name in set.cells {
            let (kind, cell) = (next()?, out.make_cell_writer());
            match cells.next_if(|(given, _)| given == name) {
                Some((_, value)) => put(value, kind, cell)?,
                None => drop(cell.set_unset()),
            }
        }
        timestamp.serialize(next()?, out.make_cell_writer())?;
        match (cells.next(), types.next()) {
            (None, None) => Ok(()),
            (Some(_), _) => Err(unfit("it has other cells, or in another order")),
            (None, Some(_)) => Err(unfit("it has fewer values")),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

fn put(value: &Value, kind: &ColumnType<'_>, cell: CellWriter<'_>) -> Result<(), SerializationError> {
    match value {
        Value::Uuid(uuid) => uuid.serialize(kind, cell),
        Value::Bigint(number) => number.serialize(kind, cell),
        Value::Text(text) => text.serialize(kind, cell),
        Value::Boolean(truth) => truth.serialize(kind, cell),
        Value::Blob(bytes) => bytes.serialize(kind, cell),
    }?;
    Ok(())
}

/// Slots, ordinals and buckets count events, so they stay far below 2^63.
#[allow(clippy::cast_possible_wrap)]
pub(crate) const fn number(number: u64) -> i64 {
    number as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_the_key_and_the_cells_of_its_set() {
        let edit = CELL_SETS.into_iter().find(|set| set.cells == ["body", "changed", "edited"]).unwrap();
        assert_eq!(
            text(edit),
            "INSERT INTO {derived}.timeline (conversation, bucket, seq, body, changed, edited) VALUES (?, ?, ?, ?, ?, ?) \
             USING TIMESTAMP ?"
        );
    }
}
