//! [`UserStore`]: accounts are changed by lightweight transactions; the outbox by plain writes.

use async_trait::async_trait;
use domain::UserId;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::MaybeUnset;
use store::{Account, AccountCreated, Audience, Malformed, OutboxRow, Privacy, PrivacyUpdate, StoreError, UserStore};
use uuid::Uuid;

use crate::ScyllaStore;
use crate::cql::{Cql, Kind};
use crate::sessions::{SessionTables, user};

/// Partitions of the outbox. Fixed, because every drain reads all of them.
const OUTBOX_SHARDS: u8 = 8;
/// Concurrent reads of accounts in one call.
const ACCOUNTS_AT_ONCE: usize = 32;

/// The statements of [`UserStore`].
pub(crate) struct UserTables {
    take_name: PreparedStatement,
    /// A serial read, which also completes an interrupted transaction.
    name_serial: PreparedStatement,
    name: PreparedStatement,
    put_account: PreparedStatement,
    account: PreparedStatement,
    set_password: PreparedStatement,
    pub(crate) sessions: SessionTables,
    privacy: PreparedStatement,
    set_privacy: PreparedStatement,
    add_outbox: PreparedStatement,
    outbox: PreparedStatement,
    remove_outbox: PreparedStatement,
}

impl UserTables {
    pub(crate) async fn prepare(cql: &Cql) -> Result<Self, StoreError> {
        let plain = |text| cql.prepare(Kind::Idempotent, text);
        let conditional = |text| cql.prepare(Kind::Conditional, text);
        let account = "name, id, display_name, password_hash, created";
        let name = format!("SELECT {account} FROM {{base}}.accounts_by_name WHERE name = ?");
        let mut name_serial = plain(&name).await?;
        name_serial.set_consistency(Consistency::LocalSerial);
        Ok(Self {
            take_name: conditional(&format!(
                "INSERT INTO {{base}}.accounts_by_name ({account}) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS"
            ))
            .await?,
            name_serial,
            name: plain(&name).await?,
            // Only inserts a missing account: completing a creation late must not restore the first password.
            put_account: conditional(&format!(
                "INSERT INTO {{base}}.accounts ({account}) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS"
            ))
            .await?,
            account: plain(&format!("SELECT {account} FROM {{base}}.accounts WHERE id = ?")).await?,
            set_password: conditional("UPDATE {base}.accounts SET password_hash = ? WHERE id = ? IF password_hash = ?")
                .await?,
            sessions: SessionTables::prepare(cql).await?,
            privacy: plain("SELECT presence, invisible FROM {base}.privacy WHERE account = ?").await?,
            set_privacy: plain("INSERT INTO {base}.privacy (account, presence, invisible) VALUES (?, ?, ?)").await?,
            add_outbox: plain(
                "INSERT INTO {base}.outbox (shard, id, account, account_name, payload) VALUES (?, ?, ?, ?, ?)",
            )
            .await?,
            outbox: plain("SELECT id, account, account_name, payload FROM {base}.outbox WHERE shard = ? LIMIT ?")
                .await?,
            remove_outbox: plain("DELETE FROM {base}.outbox WHERE shard = ? AND id = ?").await?,
        })
    }

    async fn read_account(
        &self,
        cql: &Cql,
        statement: &PreparedStatement,
        key: AccountKey<'_>,
    ) -> Result<Option<Account>, StoreError> {
        type Cells = (String, Uuid, String, String, i64);
        let row = match key {
            AccountKey::Id(id) => cql.first::<Cells>(statement, (id.uuid(),)).await?,
            AccountKey::Name(name) => cql.first::<Cells>(statement, (name,)).await?,
        };
        let Some((name, id, display_name, password_hash, created_ms)) = row else { return Ok(None) };
        Ok(Some(Account { id: user(id, "accounts")?, name, display_name, password_hash, created_ms }))
    }

    async fn put_account(&self, cql: &Cql, account: &Account) -> Result<(), StoreError> {
        cql.apply(&self.put_account, cells(account)).await?;
        Ok(())
    }
}

enum AccountKey<'a> {
    Id(UserId),
    Name(&'a str),
}

#[async_trait]
impl UserStore for ScyllaStore {
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError> {
        self.add_outbox(event).await?;
        let (cql, users) = (&*self.cql, &self.users);
        if !cql.apply(&users.take_name, cells(account)).await? {
            let holder = users.read_account(cql, &users.name_serial, AccountKey::Name(&account.name)).await?;
            // The name may be this account's own, when the answer of an earlier attempt was lost.
            if holder.is_none_or(|holder| holder.id != account.id) {
                self.remove_outbox(&event.id).await?;
                return Ok(AccountCreated::NameTaken);
            }
        }
        users.put_account(cql, account).await?;
        Ok(AccountCreated::Created)
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        self.users.read_account(&self.cql, &self.users.account, AccountKey::Id(id)).await
    }

    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError> {
        stream::iter(ids.to_vec()).map(|id| self.account(id)).buffered(ACCOUNTS_AT_ONCE).try_collect().await
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let (cql, users) = (&*self.cql, &self.users);
        let Some(taken) = users.read_account(cql, &users.name, AccountKey::Name(name)).await? else { return Ok(None) };
        if let Some(account) = self.account(taken.id).await? {
            return Ok(Some(account));
        }
        // The creation was interrupted here.
        users.put_account(cql, &taken).await?;
        Ok(Some(taken))
    }

    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError> {
        match self.cql.apply(&self.users.set_password, (hash, user.uuid(), expected)).await {
            Err(StoreError::Transient(error)) => {
                // It may have been applied, and no other hash has its salt.
                let found = self.account(user).await?;
                match found.is_some_and(|found| found.password_hash == hash) {
                    true => Ok(true),
                    false => Err(StoreError::Transient(error)),
                }
            }
            outcome => outcome,
        }
    }

    async fn privacy(&self, user: UserId) -> Result<Privacy, StoreError> {
        type Cells = (Option<String>, Option<bool>);
        let row = self.cql.first::<Cells>(&self.users.privacy, (user.uuid(),)).await?;
        let Some((presence, invisible)) = row else { return Ok(Privacy::default()) };
        // What a newer program calls otherwise is shown to nobody.
        let presence =
            presence.map_or(Audience::Everyone, |name| Audience::from_name(&name).unwrap_or(Audience::Nobody));
        Ok(Privacy { presence, invisible: invisible.unwrap_or(false) })
    }

    async fn set_privacy(&self, user: UserId, change: PrivacyUpdate) -> Result<(), StoreError> {
        let presence = change.presence.map_or(MaybeUnset::Unset, |presence| MaybeUnset::Set(presence.name()));
        let invisible = change.invisible.map_or(MaybeUnset::Unset, MaybeUnset::Set);
        self.cql.execute(&self.users.set_privacy, (user.uuid(), presence, invisible)).await?;
        Ok(())
    }

    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError> {
        let OutboxRow { id, user, account_name, payload } = event;
        self.cql.execute(&self.users.add_outbox, (shard(id), id, user.uuid(), account_name, payload)).await?;
        Ok(())
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let limit_each = i32::try_from(limit).unwrap_or(i32::MAX);
        if limit_each == 0 {
            return Ok(Vec::new());
        }
        let shards = try_join_all((0..OUTBOX_SHARDS).map(|shard| async move {
            let rows = self.cql.execute(&self.users.outbox, (i32::from(shard), limit_each)).await?;
            outbox_rows(rows)
        }))
        .await?;
        let mut rows = shards.concat();
        rows.sort_unstable_by_key(|row| row.id);
        rows.truncate(limit);
        Ok(rows)
    }

    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError> {
        self.cql.execute(&self.users.remove_outbox, (shard(id), id)).await?;
        Ok(())
    }
}

fn outbox_rows(result: scylla::response::query_result::QueryResult) -> Result<Vec<OutboxRow>, StoreError> {
    let rows = result.into_rows_result().map_err(crate::cql::unreadable)?;
    let rows = rows.rows::<(Vec<u8>, Uuid, String, Vec<u8>)>().map_err(crate::cql::unreadable)?;
    rows.map(|row| {
        let (id, account, account_name, payload) = row.map_err(crate::cql::unreadable)?;
        let id = id.try_into().map_err(|_| Malformed { table: "outbox", column: "id" })?;
        Ok(OutboxRow { id, user: user(account, "outbox")?, account_name, payload })
    })
    .collect()
}

fn cells(account: &Account) -> (&str, Uuid, &str, &str, i64) {
    let Account { id, name, display_name, password_hash, created_ms } = account;
    (name, id.uuid(), display_name, password_hash, *created_ms)
}

/// The outbox partition, by the last, random byte of the id.
fn shard(id: &[u8; 16]) -> i32 {
    i32::from(id[15] % OUTBOX_SHARDS)
}
