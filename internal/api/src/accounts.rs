//! The bodies of accounts and sessions. Passwords and tokens are secrets: they show in no debug output.

use auth::Secret;
use domain::UserId;
use serde::{Deserialize, Serialize};

/// A wish for an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Unique: 3 to 32 of `a-z`, `0-9`, `_`, `.` and `-`; upper case is lowered.
    pub name: String,
    /// 8 to 128 characters.
    pub password: Secret,
    /// What others see, at most 64 characters; the name when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub display_name: Option<String>,
}

/// What one signs in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The account's name.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// The token that a session goes on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshBody {
    /// As the last answer gave it.
    pub refresh_token: Secret,
}

/// A session, begun or gone on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionBody {
    /// For `Authorization: Bearer` and for the socket's `hello`.
    pub access_token: Secret,
    /// Seconds that the access token is good for.
    pub expires_in: u64,
    /// For the next refresh, once: the answer to it has another.
    pub refresh_token: Secret,
    /// Whose session it is.
    pub user: UserBody,
}

/// A user, for users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserBody {
    /// The account's id.
    pub id: UserId,
    /// Its unique name.
    pub name: String,
    /// What others see.
    pub display_name: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created: i64,
}
