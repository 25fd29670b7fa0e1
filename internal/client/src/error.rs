//! Why a call to the public API did not succeed.

use std::time::Duration;

use protocol::ErrorCode;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no, in its own words.
    #[error("{message}")]
    Refused {
        /// The stable code.
        code: ErrorCode,
        /// The server's sentence.
        message: String,
        /// When to ask again, if that makes sense.
        retry_after: Option<Duration>,
        /// Finds the request in the server's logs.
        request_id: String,
    },
    /// No answer.
    #[error("{url} does not answer: {source}")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that is not of the protocol.
    #[error("{url} does not speak the protocol of Klatsch: {what}")]
    Protocol {
        /// Who was asked.
        url: String,
        /// What was odd.
        what: String,
    },
    /// Not a URL that can be used.
    #[error("'{0}' is not a base URL like http://127.0.0.1:8080 (TLS is a matter of the proxy in front)")]
    Address(String),
    /// A command that cannot be sent.
    #[error("{0}")]
    Malformed(String),
    /// Too many commands are open: wait for some to be settled.
    #[error("too many commands wait for their outcome: try again when some are settled")]
    TooManyOpen,
    /// Nobody has signed in.
    #[error("not signed in")]
    SignedOut,
}

impl ClientError {
    /// The server's code, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// When the server wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
