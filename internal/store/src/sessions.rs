//! The sessions of signed-in devices: the user service's own truth, as the accounts are.

use async_trait::async_trait;
use domain::UserId;

use crate::{Malformed, StoreError};

/// The length of the buckets that ended sessions are named in.
pub const ENDED_BUCKET_MS: i64 = 60_000;

/// A signed-in device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The session's id (random bytes; part of the refresh token).
    pub id: [u8; 16],
    /// Whose.
    pub user: UserId,
    /// SHA-256 of the secret of the refresh token that is valid now.
    pub secret_hash: [u8; 32],
    /// When it ends unless refreshed, milliseconds since the Unix epoch.
    pub expires_ms: i64,
    /// Absent in a session whose last refresh token was given out before sessions had it.
    pub family: Option<TokenFamily>,
}

/// What tells the refresh tokens of a session from made-up ones, and finds the successor of the last one again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFamily {
    /// SHA-256 of what all tokens of the session have in common.
    pub hash: [u8; 32],
    /// The token that was replaced last, if any was.
    pub replaced: Option<ReplacedToken>,
}

/// A refresh token that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedToken {
    /// SHA-256 of its secret.
    pub secret_hash: [u8; 32],
    /// The secret of its successor, encrypted so that the replaced token's own secret is needed to read it.
    pub successor: [u8; 32],
}

impl TokenFamily {
    /// As it is stored: the hash, and the replaced token behind it if there is one.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let replaced = self.replaced.iter().flat_map(|replaced| [replaced.secret_hash, replaced.successor]);
        [self.hash].into_iter().chain(replaced).flatten().collect()
    }

    /// What [`Self::to_bytes`] has written.
    ///
    /// # Errors
    /// When it has not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let malformed = Malformed { table: "sessions", column: "token_family" };
        match bytes.as_chunks() {
            ([hash], []) => Ok(Self { hash: *hash, replaced: None }),
            ([hash, secret_hash, successor], []) => {
                let replaced = ReplacedToken { secret_hash: *secret_hash, successor: *successor };
                Ok(Self { hash: *hash, replaced: Some(replaced) })
            }
            _ => Err(malformed),
        }
    }
}

/// A row of a user's list of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSession {
    /// The session's id.
    pub id: [u8; 16],
    /// What the device called itself when it signed in; may be empty.
    pub label: String,
    /// When it began, milliseconds since the Unix epoch.
    pub begun_ms: i64,
    /// When it was last refreshed, or began.
    pub used_ms: i64,
}

/// Sessions. They outlive incarnations.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Adds a session.
    async fn create_session(&self, session: &Session) -> Result<(), StoreError>;

    /// The session of that id; expired ones may still show.
    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError>;

    /// Replaces the session's secret, expiry and family if its secret is still `expected`, atomically; says whether it was.
    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError>;

    /// Ends a session of `user`: names it in [`SessionStore::ended_sessions`] of the bucket of `now_ms`, then removes it
    /// and its row in the list. One that is not there is fine, and is named all the same.
    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError>;

    /// The sessions that were ended in a bucket (milliseconds since the Unix epoch, divided by [`ENDED_BUCKET_MS`]), for
    /// an hour at least.
    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError>;

    /// Sets a row of the user's list. The list and the sessions are not one change: a row may be there without its
    /// session, and says nothing then.
    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError>;

    /// The user's list, in the order of ids.
    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError>;

    /// Notes that the user ended all other sessions at `at_ms`: those that are in no list have ended, too.
    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError>;

    /// When [`SessionStore::cut_sessions`] was last noted, if ever.
    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError>;
}
