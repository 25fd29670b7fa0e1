//! How a run ends: the exit codes, and what prevents a run.

use client::ClientError;

/// The exit codes of the program. What the product did wrong comes first: a lost message is a lost message, however
/// busy the tool was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The run passed; or, of a comparison, nothing is worse.
    Passed = 0,
    /// The product failed: something was lost, doubled, out of order or unresolved, or a bound was missed. Of a
    /// comparison: something is worse.
    Failed = 1,
    /// The tool was too slow to say anything about the product.
    Overloaded = 3,
    /// The run could not be set up, or the server's limits cut the load.
    Setup = 4,
    /// The call is wrong.
    Usage = 64,
}

/// Why a run cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The options contradict one another, or exceed a bound.
    #[error("{0}")]
    Usage(String),
    /// The server refused something, or did not answer.
    #[error("{what}: {source}")]
    Server {
        /// What was being done.
        what: String,
        /// The error of the client.
        source: ClientError,
    },
    /// A file cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Something else that a person has to mend.
    #[error("{0}")]
    Other(String),
}

impl SetupError {
    /// The exit code for it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Server { .. } | Self::Io { .. } | Self::Other(_) => Exit::Setup,
        }
    }

    /// A failed call to the server, while `what` was being done.
    pub(crate) fn server(what: impl Into<String>) -> impl FnOnce(ClientError) -> Self {
        move |source| Self::Server { what: what.into(), source }
    }

    /// A failed use of a file, while `what` was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
