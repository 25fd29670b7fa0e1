//! The sessions of signed-in devices. Like the accounts, they are the user service's own data, not derived from
//! the log.

use async_trait::async_trait;
use domain::UserId;

use crate::{Malformed, StoreError};

/// The length of the buckets of ended sessions, in milliseconds.
pub const ENDED_BUCKET_MS: i64 = 60_000;

/// A signed-in device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The session's id (random bytes; part of the refresh token).
    pub id: [u8; 16],
    /// The user.
    pub user: UserId,
    /// SHA-256 of the secret of the refresh token that is valid now.
    pub secret_hash: [u8; 32],
    /// The expiry unless refreshed, milliseconds since the Unix epoch.
    pub expires_ms: i64,
    /// Absent in a session whose last refresh token was issued before token families existed.
    pub family: Option<TokenFamily>,
}

/// Recognizes the refresh tokens of a session, and recovers the successor of the last replaced one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFamily {
    /// SHA-256 of the part that all tokens of the session share.
    pub hash: [u8; 32],
    /// The token that was replaced last, if there is one.
    pub replaced: Option<ReplacedToken>,
}

/// A refresh token that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedToken {
    /// SHA-256 of its secret.
    pub secret_hash: [u8; 32],
    /// The secret of its successor, encrypted so that the replaced token's own secret is needed to decrypt it.
    pub successor: [u8; 32],
}

impl TokenFamily {
    /// The stored form: the hash, followed by the replaced token if there is one.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let replaced = self.replaced.iter().flat_map(|replaced| [replaced.secret_hash, replaced.successor]);
        [self.hash].into_iter().chain(replaced).flatten().collect()
    }

    /// Decodes the bytes of [`Self::to_bytes`].
    ///
    /// # Errors
    /// When the bytes have another form.
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
    /// The name that the device gave itself when it signed in; may be empty.
    pub label: String,
    /// The time of the sign-in, milliseconds since the Unix epoch.
    pub begun_ms: i64,
    /// The time of the last refresh or, without one, of the sign-in.
    pub used_ms: i64,
}

/// The session tables. They do not belong to an incarnation.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Adds a session.
    async fn create_session(&self, session: &Session) -> Result<(), StoreError>;

    /// The session with that id; expired ones may still be returned.
    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError>;

    /// Replaces the session's secret, expiry and family if its secret is still `expected`, atomically; returns
    /// whether it was.
    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError>;

    /// Ends a session of `user`: adds it to [`SessionStore::ended_sessions`] of the bucket of `now_ms`, then
    /// removes the session and its row in the list. A session that does not exist is added all the same.
    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError>;

    /// The sessions that were ended in a bucket (milliseconds since the Unix epoch, divided by
    /// [`ENDED_BUCKET_MS`]); kept for an hour at least.
    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError>;

    /// Sets a row of the user's list. The list and the sessions do not change atomically: a row without its
    /// session means nothing.
    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError>;

    /// The user's list, ordered by id.
    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError>;

    /// Records that the user ended all other sessions at `at_ms`, including those that are in no list.
    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError>;

    /// The time that [`SessionStore::cut_sessions`] recorded last, if any.
    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError>;
}
