//! The bodies of accounts and sessions. Passwords and tokens are secrets: they show in no debug output.

use domain::UserId;
use secret::Secret;
use serde::{Deserialize, Serialize};

use crate::integer::integer;

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
    /// What an earlier sign-in of this device gave it; see [`SessionBody::device_token`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_token: Option<Secret>,
    /// What the device is called in the list of sessions, at most 64 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
}

impl Credentials {
    /// Without a device token and a label.
    pub fn new(name: impl Into<String>, password: Secret) -> Self {
        Self { name: name.into(), password, device_token: None, label: None }
    }
}

/// Another password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordBody {
    /// The password of now.
    pub current_password: Secret,
    /// 8 to 128 characters, and none that many people have.
    pub new_password: Secret,
}

/// A user's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// Those that stand, the one used last first.
    pub sessions: Vec<ListedSessionBody>,
}

/// A session, for its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSessionBody {
    /// Names it, to end it.
    pub id: String,
    /// What the device called itself; may be empty.
    pub label: String,
    /// When it began, milliseconds since the Unix epoch.
    pub begun: i64,
    /// When it was last refreshed, or began.
    pub used: i64,
    /// Whether it is the one that asks.
    pub current: bool,
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
    #[serde(deserialize_with = "integer")]
    pub expires_in: u64,
    /// For the next refresh: keep the one that the answer to it has, which may be this one.
    pub refresh_token: Secret,
    /// After a sign-in: keep it on the device, whoever signs out, and send it with the next sign-in to this account. A
    /// device that does has sign-in attempts of its own, which no stranger can use up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_token: Option<Secret>,
    /// The user of the session.
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
    #[serde(deserialize_with = "integer")]
    pub created: i64,
}

/// Several users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserList {
    /// Those that there are, in the order asked.
    pub users: Vec<UserBody>,
}
