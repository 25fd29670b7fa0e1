//! All requests to the server go through this module: prepared statements, a bound on requests in flight, sorted
//! errors.

use std::ops::ControlFlow;
use std::sync::Arc;

use scylla::client::session::Session;
use scylla::deserialize::row::{ColumnIterator, DeserializeRow};
use scylla::errors::{ExecutionError, PrepareError};
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::batch::BatchValues;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Statement;
use scylla::statement::batch::Batch;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};
use store::observer::{Observer, Op, Outcome};
use store::tables::Table;
use store::{RowValues, StoreError, Value};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::ScyllaConfig;
use crate::error::{self, Sorted, Unreadable};

/// Requests in flight. More would only wait longer at the server; further callers wait here, first come, first
/// served.
const REQUESTS_MAX: usize = 256;

/// The relation of a handle to its incarnation.
pub(crate) struct Tie {
    /// The incarnation.
    pub(crate) pinned: u32,
    /// Whether another incarnation was current when the handle was opened: then the handle works whichever is
    /// current.
    pub(crate) beside: bool,
    /// Ends the handle.
    pub(crate) closing: CancellationToken,
}

/// A session, pinned to an incarnation.
pub(crate) struct Cql {
    /// Shared by all handles of a process.
    session: Arc<Session>,
    permits: Semaphore,
    closing: CancellationToken,
    /// The keyspace of the tables that do not belong to an incarnation.
    base: String,
    /// The keyspace of the pinned incarnation.
    derived: String,
    pinned: u32,
    /// See [`Tie`].
    beside: bool,
    incarnation: PreparedStatement,
    observer: Observer,
}

/// Whether a statement may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads, and writes that may be executed twice: the driver retries them on another node.
    Idempotent,
    /// A lightweight transaction: never retried, because the first attempt may have been applied.
    Conditional,
}

/// A prepared `SELECT` of all columns of a table.
pub(crate) struct TableRead {
    table: &'static Table,
    statement: PreparedStatement,
}

impl Cql {
    pub(crate) async fn new(session: Arc<Session>, config: &ScyllaConfig, tie: Tie) -> Result<Self, StoreError> {
        let (keyspace, observer) = (&config.keyspace, config.observer.clone());
        let Tie { pinned, beside, closing } = tie;
        let (base, derived) = (keyspace.name().to_owned(), keyspace.incarnation(pinned));
        let text = format!("SELECT number FROM {base}.incarnation WHERE scope = 'store'");
        let mut incarnation = session.prepare(text).await.map_err(|error| unprepared(&error))?;
        incarnation.set_is_idempotent(true);
        let permits = Semaphore::new(REQUESTS_MAX);
        Ok(Self { session, permits, closing, base, derived, pinned, beside, incarnation, observer })
    }

    /// The session, for another handle.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether this handle may be used while `current` is the store's incarnation.
    pub(crate) fn check(&self, current: u32) -> Result<(), StoreError> {
        if self.beside || current == self.pinned {
            return Ok(());
        }
        Err(StoreError::Incarnation { pinned: self.pinned, found: current })
    }

    /// Cancelled once the store is closed.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Prepares a statement. `{base}` and `{derived}` in its text are replaced by the keyspaces.
    pub(crate) async fn prepare(&self, kind: Kind, text: &str) -> Result<PreparedStatement, StoreError> {
        let text = text.replace("{base}", &self.base).replace("{derived}", &self.derived);
        let mut statement = self.session.prepare(Statement::new(text)).await.map_err(|error| unprepared(&error))?;
        statement.set_is_idempotent(kind == Kind::Idempotent);
        Ok(statement)
    }

    /// Prepares `SELECT (all columns) FROM table WHERE ...`, read in pages of `page_rows`.
    pub(crate) async fn prepare_read(
        &self,
        table: &'static Table,
        clause: &str,
        page_rows: i32,
    ) -> Result<TableRead, StoreError> {
        let columns: Vec<&str> = table.columns().map(|column| column.name).collect();
        let text = format!("SELECT {} FROM {{derived}}.{} WHERE {clause}", columns.join(", "), table.name);
        let mut statement = self.prepare(Kind::Idempotent, &text).await?;
        statement.set_page_size(page_rows);
        Ok(TableRead { table, statement })
    }

    /// Executes a statement whose answer has no rows, or only a few.
    pub(crate) async fn execute(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<QueryResult, StoreError> {
        let executed = async {
            let _permit = self.permit().await?;
            match self.session.execute_unpaged(statement, values).await {
                Ok(result) => Ok(result),
                Err(error) => Err(self.explain(error).await),
            }
        };
        self.observed(op_of(statement), executed).await
    }

    /// Writes the rows of one partition.
    pub(crate) async fn batch(&self, batch: &Batch, values: impl BatchValues + Send + Sync) -> Result<(), StoreError> {
        let executed = async {
            let _permit = self.permit().await?;
            match self.session.batch(batch, values).await {
                Ok(_) => Ok(()),
                Err(error) => Err(self.explain(error).await),
            }
        };
        self.observed(Op::Batch, executed).await
    }

    /// Executes a lightweight transaction; returns whether it was applied. The rest of the answer differs between
    /// the two servers and is not read.
    pub(crate) async fn apply(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<bool, StoreError> {
        was_applied(self.execute(statement, values).await?)
    }

    /// The first row of a result.
    pub(crate) async fn first<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<Option<R>, StoreError>
    where
        R: for<'frame> DeserializeRow<'frame, 'frame>,
    {
        let rows = self.execute(statement, values).await?.into_rows_result().map_err(unreadable)?;
        rows.maybe_first_row().map_err(unreadable)
    }

    /// Passes every row of a result to `take`, page by page, until it breaks.
    pub(crate) async fn each<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
        mut take: impl FnMut(R) -> Result<ControlFlow<()>, StoreError> + Send,
    ) -> Result<(), StoreError>
    where
        R: for<'frame> DeserializeRow<'frame, 'frame>,
    {
        self.pages(statement, values, |page| {
            for row in page.rows::<R>().map_err(unreadable)? {
                if take(row.map_err(unreadable)?)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
        .await
    }

    /// Passes every row that a table read returns to `take`, page by page, until it breaks.
    pub(crate) async fn each_row(
        &self,
        read: &TableRead,
        values: impl SerializeRow + Send + Sync,
        mut take: impl FnMut(RowValues) -> Result<ControlFlow<()>, StoreError> + Send,
    ) -> Result<(), StoreError> {
        self.pages(&read.statement, values, |page| {
            for row in page.rows::<ColumnIterator>().map_err(unreadable)? {
                if take(row_values(read.table, row.map_err(unreadable)?)?)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
        .await
    }

    /// The first row that a table read returns.
    pub(crate) async fn first_row(
        &self,
        read: &TableRead,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<Option<RowValues>, StoreError> {
        let mut first = None;
        self.each_row(read, values, |row| {
            first = Some(row);
            Ok(ControlFlow::Break(()))
        })
        .await?;
        Ok(first)
    }

    /// One page of a result, and the position of the next one.
    pub(crate) async fn page(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
        from: PagingState,
    ) -> Result<(QueryRowsResult, Option<PagingState>), StoreError> {
        let executed = async {
            let _permit = self.permit().await?;
            match self.session.execute_single_page(statement, values, from).await {
                Ok(page) => Ok(page),
                Err(error) => Err(self.explain(error).await),
            }
        };
        let (result, next) = self.observed(Op::Page, executed).await?;
        let next = match next {
            PagingStateResponse::HasMorePages { state } => Some(state),
            PagingStateResponse::NoMorePages => None,
        };
        Ok((result.into_rows_result().map_err(unreadable)?, next))
    }

    async fn pages(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
        mut take: impl FnMut(&QueryRowsResult) -> Result<ControlFlow<()>, StoreError> + Send,
    ) -> Result<(), StoreError> {
        let mut next = Some(PagingState::start());
        while let Some(from) = next {
            let (page, then) = self.page(statement, &values, from).await?;
            if take(&page)?.is_break() {
                break;
            }
            next = then;
        }
        Ok(())
    }

    /// The incarnation that this handle is pinned to.
    pub(crate) const fn pinned(&self) -> u32 {
        self.pinned
    }

    /// The store's current incarnation.
    pub(crate) async fn current_incarnation(&self) -> Result<u32, StoreError> {
        let _permit = self.permit().await?;
        match self.read_incarnation().await {
            Ok(found) => found,
            // Sort the error without reading the incarnation, because that read has just failed.
            Err(error) => Err(plain(error)),
        }
    }

    async fn read_incarnation(&self) -> Result<Result<u32, StoreError>, ExecutionError> {
        let result = self.session.execute_unpaged(&self.incarnation, ()).await?;
        let number = result
            .into_rows_result()
            .map_err(unreadable)
            .and_then(|rows| rows.maybe_first_row::<(Option<i32>,)>().map_err(unreadable));
        Ok(number.and_then(|row| {
            let number = row.and_then(|(number,)| u32::try_from(number?).ok());
            number.ok_or_else(|| StoreError::NotMigrated("no incarnation was made".to_owned()))
        }))
    }

    /// The outcome of a request, of which the observer is told.
    async fn observed<T>(&self, op: Op, request: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let begun = Instant::now();
        let result = request.await;
        self.observer.observe(op, Outcome::of(&result), begun.elapsed());
        result
    }

    /// The server's sessions end with the handle; no request begins after this.
    async fn permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        if self.closing.is_cancelled() {
            return Err(StoreError::Closed);
        }
        self.permits.acquire().await.map_err(|_| StoreError::Closed)
    }

    /// A missing table means that the incarnation was dropped, or never existed.
    async fn explain(&self, error: ExecutionError) -> StoreError {
        if error::of_execution(&error) == Sorted::Missing
            && let Ok(Ok(found)) = self.read_incarnation().await
            && found != self.pinned
        {
            return StoreError::Incarnation { pinned: self.pinned, found };
        }
        plain(error)
    }
}

fn op_of(statement: &PreparedStatement) -> Op {
    if !statement.get_is_idempotent() {
        Op::Conditional
    } else if statement.get_statement().starts_with("SELECT") {
        Op::Read
    } else {
        Op::Write
    }
}

/// Whether a lightweight transaction was applied: the first column of its answer.
pub(crate) fn was_applied(result: QueryResult) -> Result<bool, StoreError> {
    let rows = result.into_rows_result().map_err(unreadable)?;
    let row = rows.first_row::<Row>().map_err(unreadable)?;
    match row.columns.into_iter().next() {
        Some(Some(CqlValue::Boolean(applied))) => Ok(applied),
        _ => Err(StoreError::Broken("a lightweight transaction did not say whether it was applied".into())),
    }
}

/// Sorts an error without reading the incarnation.
pub(crate) fn plain(error: ExecutionError) -> StoreError {
    match error::of_execution(&error) {
        Sorted::Transient => StoreError::Transient(Box::new(error)),
        Sorted::Missing => StoreError::NotMigrated(error.to_string()),
        Sorted::Broken => StoreError::Broken(Box::new(error)),
    }
}

fn unprepared(error: &PrepareError) -> StoreError {
    match error::of_prepare(error) {
        Sorted::Transient => StoreError::Transient(Box::new(error.clone())),
        Sorted::Missing => StoreError::NotMigrated(error.to_string()),
        Sorted::Broken => StoreError::Broken(Box::new(error.clone())),
    }
}

pub(crate) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Broken(Box::new(Unreadable(Box::new(error))))
}

fn row_values(table: &'static Table, row: ColumnIterator<'_, '_>) -> Result<RowValues, StoreError> {
    let mut values = Vec::new();
    for (column, raw) in table.columns().zip(row) {
        let bytes = raw.map_err(unreadable)?.slice.map(|slice| slice.as_slice());
        let value = bytes.map(|bytes| {
            let malformed = store::Malformed { table: table.name, column: column.name };
            Value::decode(column.kind, bytes).ok_or(malformed)
        });
        values.push(value.transpose()?);
    }
    Ok(RowValues::new(table, values))
}
