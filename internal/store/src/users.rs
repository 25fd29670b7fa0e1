//! The user tables: the user service's own truth: accounts with unique names, and an outbox.

use async_trait::async_trait;
use domain::UserId;

use crate::{SessionStore, StoreError};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// Unique; lower case.
    pub name: String,
    /// What others see.
    pub display_name: String,
    /// A PHC string. Never logged.
    pub password_hash: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// What became of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountCreated {
    /// The name is this account's.
    Created,
    /// The name is another's.
    NameTaken,
}

/// An event that a row promises: published, then removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// A UUIDv7: rows come in its order, and consumers drop repetitions by it.
    pub id: [u8; 16],
    /// The user of the event, which is the record key.
    pub user: UserId,
    /// The name that the account must have for the event to be true; see [`UserStore::create_account`].
    pub account_name: String,
    /// The event's kind and body as the user service wrote them.
    pub payload: Vec<u8>,
}

/// The user service's tables. They outlive incarnations.
#[async_trait]
pub trait UserStore: SessionStore {
    /// Makes the account, if its name is free, and puts `event` into the outbox. Durable when it returns.
    ///
    /// The outbox row is written first; whoever drains the outbox publishes it only if the name is that account's. A
    /// creation that was cut short after the name was taken is completed by the next read of that name.
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError>;

    /// The account of that id.
    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError>;

    /// The accounts of those ids, in their order; `None` for an id that has none. Costs a read for each.
    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError>;

    /// The account of that name.
    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError>;

    /// Replaces the account's password hash if it is still `expected`, atomically; says whether it was.
    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError>;

    /// Adds to the outbox.
    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError>;

    /// The oldest rows of the outbox, at most `limit`.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError>;

    /// Removes a published row.
    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError>;
}
