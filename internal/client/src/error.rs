//! The errors of calls to the public API.

use std::time::Duration;

use protocol::ErrorCode;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused the call.
    #[error("{message}")]
    Refused {
        /// The stable code.
        code: ErrorCode,
        /// The server's sentence for people.
        message: String,
        /// How long to wait before a retry, if a retry makes sense.
        retry_after: Option<Duration>,
        /// The id by which the request is found in the server's logs.
        request_id: String,
    },
    /// The server did not answer.
    #[error("{url} does not answer: {source}")]
    Unreachable {
        /// The URL that was called.
        url: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that does not conform to the protocol.
    #[error("{url} does not speak the protocol of Klatsch: {what}")]
    Protocol {
        /// The URL that was called.
        url: String,
        /// What was wrong with the answer.
        what: String,
    },
    /// The base URL cannot be used.
    #[error("'{0}' is not a base URL like http://127.0.0.1:8080 (TLS is a matter of the proxy in front)")]
    Address(String),
    /// A command that cannot be sent.
    #[error("{0}")]
    Malformed(String),
    /// Too many commands are open: wait for some to be settled.
    #[error("too many commands wait for their outcome: try again when some are settled")]
    TooManyOpen,
    /// No user has signed in.
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

    /// How long the server asks to wait before a retry.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
