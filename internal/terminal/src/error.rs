//! The errors of the terminal.

use client::{ClientError, StateError};

/// Why the terminal failed.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// The options or the input ask for something impossible.
    #[error("{0}")]
    Usage(String),
    /// A call to the public API failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Reading or writing the terminal, or a pipe in its place, failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Another failure that a retry does not help.
    #[error("{0}")]
    Failed(String),
}

impl TerminalError {
    /// A failed call to the operating system.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
