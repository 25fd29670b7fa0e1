//! The tables of the user service's own data: accounts with unique names, and an outbox.

use async_trait::async_trait;
use domain::UserId;

use crate::{SessionStore, StoreError};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// The unique name, in lower case.
    pub name: String,
    /// The name that is shown to others.
    pub display_name: String,
    /// The password hash as a PHC string. Never logged.
    pub password_hash: String,
    /// The time of its creation, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// The result of creating an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountCreated {
    /// The name belongs to this account.
    Created,
    /// The name belongs to another account.
    NameTaken,
}

/// An event that is to be published; its row is removed after that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// A UUIDv7: rows are read in its order, and consumers drop duplicates by it.
    pub id: [u8; 16],
    /// The user of the event, which is the record key.
    pub user: UserId,
    /// The name that the account must have for the event to be true; see [`UserStore::create_account`].
    pub account_name: String,
    /// The event's kind and body as the user service wrote them.
    pub payload: Vec<u8>,
}

/// The tables of the user service. They do not belong to an incarnation.
#[async_trait]
pub trait UserStore: SessionStore {
    /// Creates the account, if its name is free, and adds `event` to the outbox. Durable when it returns.
    ///
    /// The outbox row is written first; the task that drains the outbox publishes it only if the name belongs to
    /// that account. A creation that was interrupted after the name was taken is completed by the next read of
    /// that name.
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError>;

    /// The account with that id.
    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError>;

    /// The accounts with those ids, in their order; `None` for an id without one. Costs a read for each.
    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError>;

    /// The account with that name.
    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError>;

    /// Replaces the account's password hash if it is still `expected`, atomically; returns whether it was.
    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError>;

    /// Adds an event to the outbox.
    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError>;

    /// The oldest rows of the outbox, at most `limit`.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError>;

    /// Removes a published row.
    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError>;
}
