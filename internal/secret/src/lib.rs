//! The type for secret texts: passwords, tokens, cookies. Every value of the workspace that holds such a text uses
//! it, so that no log line, panic message or `{:?}` of an enclosing value shows the text.
//!
//! It is a crate of its own because options, engines, the protocol and the client all hold secrets but share no
//! other crate.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret text. Its debug output is `[secret]`, and it has no `Display`. It serializes as the text itself,
/// because bodies that are sent contain it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Allows clap to parse an option or an environment variable into a secret.
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
