//! A secret text: a password, a token, a cookie. The one type of the workspace for it, used wherever such a text is kept
//! in a value, so that no log line, panic message or `{:?}` of an enclosing value shows it.
//!
//! It is a crate of its own because options, engines, the protocol and the client all hold secrets and share nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret text. Its debug output is `[secret]`; it has no `Display`. Serialized, it is the text itself, because bodies
/// that are sent carry it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, from here on a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// So that an option or an environment variable is read into one.
impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
