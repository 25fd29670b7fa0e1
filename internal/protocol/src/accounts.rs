//! The bodies of requests and answers about accounts and sessions. Passwords and tokens are [`Secret`]s: debug
//! output does not show them.

use domain::UserId;
use secret::Secret;
use serde::{Deserialize, Serialize};

use crate::integer::integer;

/// A request to register an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Unique: 3 to 32 of `a-z`, `0-9`, `_`, `.` and `-`; upper case is lowered.
    pub name: String,
    /// 8 to 128 characters.
    pub password: Secret,
    /// The name shown to others, at most 64 characters; `name` when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub display_name: Option<String>,
}

/// A request to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The account's name.
    pub name: String,
    /// Its password.
    pub password: Secret,
    /// The device token that an earlier sign-in returned to this device; see [`SessionBody::device_token`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_token: Option<Secret>,
    /// The device's label in the list of sessions, at most 64 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
}

impl Credentials {
    /// Credentials without a device token and a label.
    pub fn new(name: impl Into<String>, password: Secret) -> Self {
        Self { name: name.into(), password, device_token: None, label: None }
    }
}

/// A request to change the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordBody {
    /// The present password.
    pub current_password: Secret,
    /// 8 to 128 characters, and not on the list of common passwords.
    pub new_password: Secret,
}

/// What others may know of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivacyBody {
    /// Who may know how present the user is: `everyone` or `nobody`.
    pub presence: String,
    /// Whether the user is offline to all others for now.
    pub invisible: bool,
}

/// A request to change what others may know; what it does not name stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivacyChange {
    /// Who may know how present the user is: `everyone` or `nobody`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub presence: Option<String>,
    /// Whether the user is offline to all others for now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invisible: Option<bool>,
}

/// The active sessions of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// The sessions, the one used last first.
    pub sessions: Vec<ListedSessionBody>,
}

/// A session, as its user sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSessionBody {
    /// The id of the session, by which it can be ended.
    pub id: String,
    /// The label that the device gave at sign-in; may be empty.
    pub label: String,
    /// When it began, milliseconds since the Unix epoch.
    pub begun: i64,
    /// When it was last refreshed, or began, milliseconds since the Unix epoch.
    pub used: i64,
    /// Whether it is the session of this request.
    pub current: bool,
}

/// A request to refresh a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshBody {
    /// The refresh token of the last [`SessionBody`].
    pub refresh_token: Secret,
}

/// A session after a sign-in or a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionBody {
    /// For `Authorization: Bearer` and for the socket's `hello`.
    pub access_token: Secret,
    /// Seconds until the access token expires.
    #[serde(deserialize_with = "integer")]
    pub expires_in: u64,
    /// The token for the next refresh. Each refresh returns the one to keep, which may be the same.
    pub refresh_token: Secret,
    /// Returned by a sign-in. The device keeps it, even when the user signs out, and sends it with the next
    /// sign-in to this account: then its sign-in attempts are limited separately from those of strangers, who
    /// cannot use them up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_token: Option<Secret>,
    /// The user of the session.
    pub user: UserBody,
}

/// A user, as other users see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserBody {
    /// The account's id.
    pub id: UserId,
    /// Its unique name.
    pub name: String,
    /// The name shown to others.
    pub display_name: String,
    /// When it was registered, milliseconds since the Unix epoch.
    #[serde(deserialize_with = "integer")]
    pub created: i64,
}

/// Several users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserList {
    /// The users that exist, in the order of the request.
    pub users: Vec<UserBody>,
}
