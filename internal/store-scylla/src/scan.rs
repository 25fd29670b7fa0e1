//! Reading rows as canonical bytes: a whole table by ranges of tokens, page by page, or rows by their keys.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::deserialize::row::ColumnIterator;
use scylla::response::PagingState;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;
use store::canonical::{self, Part};
use store::tables::{self, Table};
use store::{Malformed, StoreError, Value};
use tokio::sync::OnceCell;

use crate::cql::{Cql, Kind, unreadable};

/// The number of token ranges of a scan, so that no single request covers the whole cluster.
const RANGES: u8 = 16;
const PAGE_ROWS: i32 = 500;
/// Concurrent reads of rows by their keys.
const ROWS_IN_FLIGHT: usize = 64;

/// The statements, prepared when a table is first scanned: services never scan.
pub(crate) struct Scans {
    tables: Vec<Statements>,
}

/// The statements of one table.
struct Statements {
    table: &'static Table,
    by_token: OnceCell<PreparedStatement>,
    by_key: OnceCell<PreparedStatement>,
}

/// The position of a scan: the token range, and the paging state within it.
struct Position {
    range: u8,
    from: PagingState,
}

/// An `after` that no scan has returned.
#[derive(Debug, thiserror::Error)]
#[error("not a position of a scan")]
struct BadPosition;

impl Scans {
    pub(crate) fn new() -> Self {
        let statements = |table| Statements { table, by_token: OnceCell::new(), by_key: OnceCell::new() };
        Self { tables: tables::ALL.into_iter().map(statements).collect() }
    }

    fn of(&self, table: &str) -> Result<&Statements, StoreError> {
        let found = self.tables.iter().find(|known| known.table.name == table);
        found.ok_or_else(|| StoreError::Broken(format!("there is no table {table}").into()))
    }

    /// The rows with these keys, in the order of the argument.
    pub(crate) async fn rows(
        &self,
        cql: &Cql,
        table: &str,
        keys: &[Vec<Value>],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let Statements { table, by_key, .. } = self.of(table)?;
        let key: Vec<String> = table.key().map(|column| format!("{} = ?", column.name)).collect();
        let statement = by_key.get_or_try_init(|| prepare(cql, table, key.join(" AND "))).await?;
        let keys: Vec<Vec<CqlValue>> = keys.iter().map(|key| key.iter().map(cql_value).collect()).collect();
        let reads = keys.into_iter().map(|key| async move {
            let found = cql.execute(statement, key).await?.into_rows_result().map_err(unreadable)?;
            let row = found.maybe_first_row::<ColumnIterator>().map_err(unreadable)?;
            row.map(|row| render(table, row)).transpose()
        });
        stream::iter(reads).buffered(ROWS_IN_FLIGHT).try_collect().await
    }

    pub(crate) async fn page(
        &self,
        cql: &Cql,
        table: &str,
        after: Option<Vec<u8>>,
    ) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        let Statements { table, by_token, .. } = self.of(table)?;
        let partition: Vec<&str> = table.partition_key.iter().map(|column| column.name).collect();
        let token = format!("token({})", partition.join(", "));
        let clause = format!("{token} >= ? AND {token} <= ?");
        let statement = by_token.get_or_try_init(|| prepare(cql, table, clause)).await?;
        let mut position = after.map_or(Ok(Position::start()), |bytes| Position::parse(&bytes))?;
        loop {
            let (rows, next) = cql.page(statement, position.tokens(), position.from.clone()).await?;
            let rows: Vec<Vec<u8>> = rows
                .rows::<ColumnIterator>()
                .map_err(unreadable)?
                .map(|row| render(table, row.map_err(unreadable)?))
                .collect::<Result<_, _>>()?;
            let Some(next) = position.next(next) else { return Ok((rows, None)) };
            // A page or a range may be empty: continue until there are rows or the scan ends.
            if !rows.is_empty() {
                return Ok((rows, Some(next.to_bytes())));
            }
            position = next;
        }
    }
}

async fn prepare(cql: &Cql, table: &Table, clause: String) -> Result<PreparedStatement, StoreError> {
    let columns: Vec<String> = table.columns().map(|column| column.name.to_owned()).collect();
    let times: Vec<String> = table.cells.iter().map(|column| format!("WRITETIME({})", column.name)).collect();
    let text =
        format!("SELECT {}, {} FROM {{derived}}.{} WHERE {clause}", columns.join(", "), times.join(", "), table.name);
    let mut statement = cql.prepare(Kind::Idempotent, &text).await?;
    statement.set_page_size(PAGE_ROWS);
    Ok(statement)
}

fn cql_value(value: &Value) -> CqlValue {
    match value {
        Value::Uuid(uuid) => CqlValue::Uuid(*uuid),
        Value::Bigint(number) => CqlValue::BigInt(*number),
        Value::Text(text) => CqlValue::Text(text.clone()),
        Value::Boolean(truth) => CqlValue::Boolean(*truth),
        Value::Blob(bytes) => CqlValue::Blob(bytes.clone()),
    }
}

/// The columns are in the order of the `SELECT`: key, cells, timestamps of the cells.
fn render(table: &Table, row: ColumnIterator<'_, '_>) -> Result<Vec<u8>, StoreError> {
    let mut raw = Vec::new();
    for column in row {
        raw.push(column.map_err(unreadable)?.slice.map(|slice| slice.as_slice()));
    }
    let malformed = |column: &tables::Column| Malformed { table: table.name, column: column.name };
    let (keys, cells) = raw.split_at_checked(table.key().count()).unwrap_or_default();
    let (values, times) = cells.split_at_checked(table.cells.len()).unwrap_or_default();
    let mut parts = Vec::new();
    for (column, key) in table.key().zip(keys) {
        parts.push((column.name, Part::Key(key.ok_or(malformed(column))?)));
    }
    for (column, (value, time)) in table.cells.iter().zip(values.iter().zip(times)) {
        let Some(value) = value else { continue };
        let time = time.and_then(|time| time.try_into().ok()).ok_or(malformed(column))?;
        parts.push((column.name, Part::Cell { value, timestamp: i64::from_be_bytes(time) }));
    }
    Ok(canonical::encode(&parts))
}

impl Position {
    fn start() -> Self {
        Self { range: 0, from: PagingState::start() }
    }

    /// The first and the last token of the range.
    fn tokens(&self) -> (i64, i64) {
        let edge = |range: u8| i128::from(i64::MIN) + ((i128::from(range)) << 64) / i128::from(RANGES);
        let token = |at: i128| i64::try_from(at).unwrap_or(i64::MAX);
        (token(edge(self.range)), token(edge(self.range + 1) - 1))
    }

    fn next(&self, page: Option<PagingState>) -> Option<Self> {
        match page {
            Some(from) => Some(Self { range: self.range, from }),
            None => (self.range + 1 < RANGES).then(|| Self { range: self.range + 1, from: PagingState::start() }),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.range];
        bytes.extend(self.from.as_bytes_slice().iter().flat_map(|state| state.iter()));
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes {
            [range, state @ ..] if *range < RANGES => {
                let from = if state.is_empty() { PagingState::start() } else { PagingState::new_from_raw_bytes(state) };
                Ok(Self { range: *range, from })
            }
            _ => Err(StoreError::Broken(Box::new(BadPosition))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_cover_the_ring_without_gap_or_overlap() {
        let ranges: Vec<_> = (0..RANGES).map(|range| Position { range, from: PagingState::start() }.tokens()).collect();
        assert_eq!(ranges.first().map(|range| range.0), Some(i64::MIN));
        assert_eq!(ranges.last().map(|range| range.1), Some(i64::MAX));
        assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{ranges:?}");
    }

    #[test]
    fn a_position_comes_back_from_its_bytes_and_nothing_else_does() {
        let position = Position { range: 3, from: PagingState::new_from_raw_bytes(&[1, 2][..]) };
        assert_eq!(position.to_bytes(), [3, 1, 2]);
        assert_eq!(Position::parse(&[3, 1, 2]).unwrap().to_bytes(), [3, 1, 2]);
        assert!(Position::parse(&[]).is_err() && Position::parse(&[RANGES]).is_err());
    }
}
