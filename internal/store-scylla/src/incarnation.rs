//! The current incarnation's number. It is read and changed only by lightweight transactions, so that of two
//! concurrent changes one fails.

use scylla::client::session::Session;
use scylla::statement::{Consistency, Statement};
use store::StoreError;

use crate::config::Keyspace;
use crate::cql::{plain, unreadable, was_applied};

/// The current number; `None` before the first incarnation was made.
pub(crate) async fn read(session: &Session, keyspace: &Keyspace) -> Result<Option<u32>, StoreError> {
    let mut statement =
        Statement::new(format!("SELECT number FROM {}.incarnation WHERE scope = 'store'", keyspace.name()));
    // A serial read, so that a number that was just written is not missed.
    statement.set_consistency(Consistency::LocalSerial);
    statement.set_is_idempotent(true);
    let rows = session.query_unpaged(statement, ()).await.map_err(plain)?.into_rows_result().map_err(unreadable)?;
    let row = rows.maybe_first_row::<(Option<i32>,)>().map_err(unreadable)?;
    Ok(row.and_then(|(number,)| u32::try_from(number?).ok()))
}

/// Makes `to` current if `from` still is; `false` when another incarnation became current meanwhile.
pub(crate) async fn advance(
    session: &Session,
    keyspace: &Keyspace,
    from: Option<u32>,
    to: u32,
) -> Result<bool, StoreError> {
    let table = format!("{}.incarnation", keyspace.name());
    let outcome = match from {
        None => {
            let text = format!("INSERT INTO {table} (scope, number) VALUES ('store', ?) IF NOT EXISTS");
            session.query_unpaged(text, (stored(to)?,)).await
        }
        Some(from) => {
            let text = format!("UPDATE {table} SET number = ? WHERE scope = 'store' IF number = ?");
            session.query_unpaged(text, (stored(to)?, stored(from)?)).await
        }
    };
    match outcome.map_err(plain).and_then(was_applied) {
        // The transaction may have been applied all the same.
        Err(StoreError::Transient(error)) => match read(session, keyspace).await? {
            Some(found) if found == to => Ok(true),
            _ => Err(StoreError::Transient(error)),
        },
        outcome => outcome,
    }
}

fn stored(number: u32) -> Result<i32, StoreError> {
    i32::try_from(number).map_err(|error| StoreError::Broken(Box::new(error)))
}
