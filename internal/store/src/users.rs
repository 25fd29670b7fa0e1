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

/// Who may know something about a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who shares a conversation with them.
    #[default]
    Everyone,
    /// Nobody.
    Nobody,
}

impl Audience {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Everyone, Self::Nobody];

    /// Its name on the wire and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::Nobody => "nobody",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|audience| audience.name() == name)
    }
}

/// A change of privacy settings: those that are not named stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrivacyUpdate {
    /// As [`Privacy::presence`].
    pub presence: Option<Audience>,
    /// As [`Privacy::invisible`].
    pub invisible: Option<bool>,
}

/// The settings of an account about what others may know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Who may know how present the user is.
    pub presence: Audience,
    /// Whether the user is offline to all others for now.
    pub invisible: bool,
}

impl Privacy {
    /// Whether others are told how present the user is; and so whether the user is told it of others.
    #[must_use]
    pub fn shows_presence(self) -> bool {
        self.presence == Audience::Everyone && !self.invisible
    }
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

    /// The privacy settings of the account; the default ones for an account that has set none.
    async fn privacy(&self, user: UserId) -> Result<Privacy, StoreError>;

    /// Changes some of the privacy settings of the account, and leaves the others as they are: each by itself, so that of
    /// changes at the same time none undoes another. Of one setting the last write counts.
    async fn set_privacy(&self, user: UserId, change: PrivacyUpdate) -> Result<(), StoreError>;

    /// Adds an event to the outbox.
    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError>;

    /// The oldest rows of the outbox, at most `limit`.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError>;

    /// Removes a published row.
    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError>;
}
