//! [`SessionStore`]: sessions are changed by lightweight transactions; the lists beside them by plain writes.

use std::ops::ControlFlow;

use async_trait::async_trait;
use domain::UserId;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use store::{ENDED_BUCKET_MS, ListedSession, Malformed, Session, SessionStore, StoreError, TokenFamily};
use uuid::Uuid;

use crate::ScyllaStore;
use crate::cql::{Cql, Kind};

/// The statements of [`SessionStore`].
pub(crate) struct SessionTables {
    create: PreparedStatement,
    session: PreparedStatement,
    /// A serial read, which also completes an interrupted transaction.
    session_serial: PreparedStatement,
    rotate: PreparedStatement,
    delete: PreparedStatement,
    put_ended: PreparedStatement,
    ended: PreparedStatement,
    put_listed: PreparedStatement,
    delete_listed: PreparedStatement,
    listed: PreparedStatement,
    put_cut: PreparedStatement,
    cut: PreparedStatement,
}

impl SessionTables {
    pub(crate) async fn prepare(cql: &Cql) -> Result<Self, StoreError> {
        let plain = |text| cql.prepare(Kind::Idempotent, text);
        let conditional = |text| cql.prepare(Kind::Conditional, text);
        let session = "SELECT account, secret_hash, expires, token_family FROM {base}.sessions WHERE id = ?";
        let mut session_serial = plain(session).await?;
        session_serial.set_consistency(Consistency::LocalSerial);
        Ok(Self {
            create: conditional(
                "INSERT INTO {base}.sessions (id, account, secret_hash, expires, token_family) VALUES (?, ?, ?, ?, ?) \
                 IF NOT EXISTS",
            )
            .await?,
            session: plain(session).await?,
            session_serial,
            // Writes all cells, so that all of them get the new time to live.
            rotate: conditional(
                "UPDATE {base}.sessions SET account = ?, secret_hash = ?, expires = ?, token_family = ? WHERE id = ? \
                 IF secret_hash = ?",
            )
            .await?,
            delete: conditional("DELETE FROM {base}.sessions WHERE id = ? IF EXISTS").await?,
            put_ended: plain("INSERT INTO {base}.ended_sessions (minute, id) VALUES (?, ?)").await?,
            ended: plain("SELECT id FROM {base}.ended_sessions WHERE minute = ?").await?,
            put_listed: plain(
                "INSERT INTO {base}.sessions_by_account (account, id, label, begun, used) VALUES (?, ?, ?, ?, ?)",
            )
            .await?,
            delete_listed: plain("DELETE FROM {base}.sessions_by_account WHERE account = ? AND id = ?").await?,
            listed: plain("SELECT id, label, begun, used FROM {base}.sessions_by_account WHERE account = ?").await?,
            put_cut: plain("INSERT INTO {base}.session_cuts (account, cut_at) VALUES (?, ?)").await?,
            cut: plain("SELECT cut_at FROM {base}.session_cuts WHERE account = ?").await?,
        })
    }

    async fn read(
        &self,
        cql: &Cql,
        statement: &PreparedStatement,
        id: &[u8; 16],
    ) -> Result<Option<Session>, StoreError> {
        type Row = (Uuid, Vec<u8>, i64, Option<Vec<u8>>);
        let Some((account, secret_hash, expires_ms, family)) = cql.first::<Row>(statement, (id,)).await? else {
            return Ok(None);
        };
        let malformed = Malformed { table: "sessions", column: "secret_hash" };
        let secret_hash = secret_hash.try_into().map_err(|_| malformed)?;
        let family = family.map(|bytes| TokenFamily::from_bytes(&bytes)).transpose()?;
        Ok(Some(Session { id: *id, user: user(account, "sessions")?, secret_hash, expires_ms, family }))
    }
}

#[async_trait]
impl SessionStore for ScyllaStore {
    async fn create_session(&self, session: &Session) -> Result<(), StoreError> {
        let Session { id, user, secret_hash, expires_ms, family } = session;
        let family = family.as_ref().map(TokenFamily::to_bytes);
        // Ids are random: an existing session is this one, created by an earlier attempt.
        self.cql.apply(&self.users.sessions.create, (id, user.uuid(), secret_hash, expires_ms, family)).await?;
        Ok(())
    }

    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError> {
        self.users.sessions.read(&self.cql, &self.users.sessions.session, id).await
    }

    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError> {
        let Session { id, user, secret_hash, expires_ms, family } = session;
        let family = family.as_ref().map(TokenFamily::to_bytes);
        let values = (user.uuid(), secret_hash, expires_ms, family, id, expected);
        let tables = &self.users.sessions;
        match self.cql.apply(&tables.rotate, values).await {
            Err(StoreError::Transient(error)) => {
                // It may have been applied, and no other device has the new secret. Without this read, a device
                // whose answer was lost would have to sign in again.
                let found = tables.read(&self.cql, &tables.session_serial, id).await?;
                match found.is_some_and(|found| found.secret_hash == *secret_hash) {
                    true => Ok(true),
                    false => Err(StoreError::Transient(error)),
                }
            }
            outcome => outcome,
        }
    }

    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError> {
        let (cql, tables) = (&*self.cql, &self.users.sessions);
        // Add it to the ended sessions first: if the call is interrupted, the session has ended for every node, or
        // the caller retries.
        cql.execute(&tables.put_ended, (now_ms.div_euclid(ENDED_BUCKET_MS), id)).await?;
        cql.apply(&tables.delete, (id,)).await?;
        cql.execute(&tables.delete_listed, (user.uuid(), id)).await?;
        Ok(())
    }

    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        let mut ids = Vec::new();
        let take = |(id,): (Vec<u8>,)| {
            let malformed = Malformed { table: "ended_sessions", column: "id" };
            ids.push(id.try_into().map_err(|_| malformed)?);
            Ok(ControlFlow::Continue(()))
        };
        self.cql.each(&self.users.sessions.ended, (bucket,), take).await?;
        Ok(ids)
    }

    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError> {
        let ListedSession { id, label, begun_ms, used_ms } = row;
        let values = (user.uuid(), id, label, begun_ms, used_ms);
        self.cql.execute(&self.users.sessions.put_listed, values).await?;
        Ok(())
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError> {
        let mut rows = Vec::new();
        let take = |(id, label, begun_ms, used_ms): (Vec<u8>, Option<String>, Option<i64>, Option<i64>)| {
            let malformed = Malformed { table: "sessions_by_account", column: "id" };
            let id = id.try_into().map_err(|_| malformed)?;
            let (begun_ms, used_ms) = (begun_ms.unwrap_or_default(), used_ms.unwrap_or_default());
            rows.push(ListedSession { id, label: label.unwrap_or_default(), begun_ms, used_ms });
            Ok(ControlFlow::Continue(()))
        };
        self.cql.each(&self.users.sessions.listed, (user.uuid(),), take).await?;
        Ok(rows)
    }

    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError> {
        self.cql.execute(&self.users.sessions.put_cut, (user.uuid(), at_ms)).await?;
        Ok(())
    }

    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError> {
        let row = self.cql.first::<(Option<i64>,)>(&self.users.sessions.cut, (user.uuid(),)).await?;
        Ok(row.and_then(|(at_ms,)| at_ms))
    }
}

/// The user id in an `id` cell.
pub(crate) fn user(id: Uuid, table: &'static str) -> Result<UserId, Malformed> {
    UserId::try_from(id).map_err(|_| Malformed { table, column: "id" })
}
