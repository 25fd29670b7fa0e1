//! Why an operation was not done, and the exit code that says so.

use eventlog::{AppendError, LogError, PatientError};
use events::RegistryError;
use store::StoreError;

/// How a command ends, for scripts (the numbers above 1 are those of sysexits.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or as it should be.
    Ok = 0,
    /// The check failed, or what was compared differs.
    Differs = 1,
    /// Called wrongly, or configured so that it cannot work.
    Usage = 64,
    /// A server, or the data folder, is not to be had at the moment: trying again may help.
    Unavailable = 69,
    /// It failed.
    Failed = 70,
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// It cannot be done as asked.
    #[error("{0}")]
    Usage(String),
    /// Somebody else has it at the moment.
    #[error("{0}")]
    Busy(String),
    /// What was found forbids it; every fault.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An append to the log.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The schema registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A file or the terminal.
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

impl From<PatientError> for OpsError {
    fn from(error: PatientError) -> Self {
        match error {
            PatientError::Log(error) => Self::Log(error),
            PatientError::NotTheLog(..) => Self::Refused(vec![error.to_string()]),
        }
    }
}

impl OpsError {
    /// A failed call to the operating system.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// The exit code that says it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Busy(_) => Exit::Unavailable,
            Self::Refused(_) => Exit::Differs,
            Self::Log(LogError::Transient(_)) => Exit::Unavailable,
            Self::Log(LogError::NoTopic(_) | LogError::OutOfRange { .. }) => Exit::Differs,
            Self::Log(LogError::Broken(_) | LogError::Closed) => Exit::Failed,
            Self::Append(AppendError::Busy | AppendError::Unknown) => Exit::Unavailable,
            Self::Append(AppendError::NoTopic(_)) => Exit::Differs,
            Self::Append(AppendError::TooLarge | AppendError::Fatal(_) | AppendError::Closed) => Exit::Failed,
            Self::Store(StoreError::Transient(_)) => Exit::Unavailable,
            Self::Store(StoreError::NotMigrated(_) | StoreError::Incarnation { .. } | StoreError::Malformed(_)) => {
                Exit::Differs
            }
            Self::Store(StoreError::Misconfigured(_)) => Exit::Usage,
            Self::Store(StoreError::Broken(_) | StoreError::Closed) => Exit::Failed,
            Self::Registry(RegistryError::Unreachable { .. }) => Exit::Unavailable,
            Self::Registry(RegistryError::NotOne { .. }) => Exit::Usage,
            Self::Registry(RegistryError::Incompatible { .. }) => Exit::Differs,
            Self::Io { .. } | Self::Failed(_) => Exit::Failed,
        }
    }
}
