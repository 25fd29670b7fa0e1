//! The statements for cell writes: one for each cell set, prepared once, with its values.

use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::prepared::PreparedStatement;
use store::{CELL_SETS, CellSet, CellWrites, StoreError};

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
        &self.0[write.set().number()]
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

impl SerializeRow for Bound<'_> {
    fn serialize(&self, _: &RowSerializationContext<'_>, out: &mut RowWriter<'_>) -> Result<(), SerializationError> {
        let Self(write) = self;
        write.fits().map_err(SerializationError::new)?;
        let key = write.key().map(|(_, value)| Some(value));
        let timestamp = write.timestamp.to_be_bytes();
        for value in key.chain(write.values()).chain([Some(timestamp.as_slice())]) {
            let cell = out.make_cell_writer();
            match value {
                Some(value) => cell.set_value(value).map_err(SerializationError::new)?,
                None => cell.set_unset(),
            };
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
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
        let mention = CELL_SETS.into_iter().find(|set| set.cells == ["place", "stands"]).unwrap();
        assert_eq!(
            text(mention),
            "INSERT INTO {derived}.mentions (user, conversation, message, place, stands) VALUES (?, ?, ?, ?, ?) USING \
             TIMESTAMP ?"
        );
    }
}
