//! Why the terminal ended without doing what it was asked for.

use client::{ClientError, StateError};

/// Why the terminal ended.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// It cannot be done as asked.
    #[error("{0}")]
    Usage(String),
    /// The public API.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The file with what the device keeps.
    #[error(transparent)]
    State(#[from] StateError),
    /// The terminal itself, or a pipe in its place.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Something else that trying again does not mend.
    #[error("{0}")]
    Failed(String),
}

impl TerminalError {
    /// A failed call to the operating system.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
