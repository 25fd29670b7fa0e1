//! Errors of operations, and their exit codes.

use environment::ErrorKind;
use eventlog::{AppendError, LogError, PatientError};
use events::RegistryError;
use store::StoreError;

/// The exit code of a command, for scripts (the numbers above 1 are those of sysexits.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or no fault was found.
    Ok = 0,
    /// A check failed, or there is a difference.
    Differs = 1,
    /// Called wrongly, or configured so that it cannot work.
    Usage = 64,
    /// A server, or the data folder, is not available at the moment: trying again may help.
    Unavailable = 69,
    /// It failed.
    Failed = 70,
    /// Stopped by Ctrl-C or SIGTERM before it was done (128 + SIGINT, as in shells).
    Stopped = 130,
}

impl Exit {
    /// Every exit code and its meaning, from which the help texts are made.
    pub const TABLE: [(Self, &str); 6] = [
        (Self::Ok, "done or as it should be"),
        (Self::Differs, "a check failed, something differs or what was found forbids it"),
        (Self::Usage, "called or configured wrongly"),
        (Self::Unavailable, "a server or the data folder is not to be had"),
        (Self::Failed, "failed"),
        (Self::Stopped, "stopped by Ctrl-C or SIGTERM before it was done"),
    ];

    /// The table as text for `--help`.
    #[must_use]
    pub fn help() -> String {
        let lines = Self::TABLE.map(|(exit, meaning)| format!("\n  {:<3}  {meaning}", exit as u8));
        format!("Exit codes:{}", lines.concat())
    }
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// It cannot be done as asked.
    #[error("{0}")]
    Usage(String),
    /// Another program uses the data folder at the moment.
    #[error("{0}")]
    Busy(String),
    /// The data folder is missing, or cannot be opened.
    #[error("{0}")]
    Absent(String),
    /// The state that was found forbids it; lists all faults.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An append to the log failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The schema registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A file or the terminal failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Stopped before it was done; tells in what state that leaves things.
    #[error("stopped before it was done: {0}")]
    Stopped(String),
    /// Another failure, for which a retry does not help.
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
    /// The error of a stopped command that has nothing more specific to say about the state that it leaves.
    #[must_use]
    pub fn stopped() -> Self {
        Self::Stopped("what was done by then is done".into())
    }

    /// Replaces the text of a [`Self::Stopped`]; other errors are not changed.
    #[must_use]
    pub fn leaving(self, words: impl Into<String>) -> Self {
        if matches!(self, Self::Stopped(_)) { Self::Stopped(words.into()) } else { self }
    }

    /// A failed call to the operating system.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// The exit code for this error.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Busy(_) | Self::Absent(_) => Exit::Unavailable,
            Self::Stopped(_) => Exit::Stopped,
            Self::Refused(_) => Exit::Differs,
            Self::Log(error) => exit_of(error.kind()),
            Self::Store(error) => exit_of(error.kind()),
            Self::Append(AppendError::Busy | AppendError::Unknown) => Exit::Unavailable,
            Self::Append(AppendError::NoTopic(_)) => Exit::Differs,
            Self::Append(AppendError::TooLarge | AppendError::Fatal(_) | AppendError::Closed) => Exit::Failed,
            Self::Registry(RegistryError::Unreachable { .. }) => Exit::Unavailable,
            Self::Registry(RegistryError::NotOne { .. }) => Exit::Usage,
            Self::Registry(RegistryError::Incompatible { .. }) => Exit::Differs,
            Self::Io { .. } | Self::Failed(_) => Exit::Failed,
        }
    }
}

/// The exit code for a failure of the log or the store.
fn exit_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::Transient => Exit::Unavailable,
        ErrorKind::Missing | ErrorKind::OutOfRange | ErrorKind::Superseded | ErrorKind::Poison => Exit::Differs,
        ErrorKind::Misconfigured => Exit::Usage,
        ErrorKind::Broken | ErrorKind::Closed => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_code_once_and_in_order() {
        let codes = Exit::TABLE.map(|(exit, _)| exit as u8);
        assert!(codes.is_sorted_by(|one, next| one < next), "{codes:?}");
        let all = [Exit::Ok, Exit::Differs, Exit::Usage, Exit::Unavailable, Exit::Failed, Exit::Stopped];
        assert_eq!(codes, all.map(|exit| exit as u8));
        assert!(Exit::help().starts_with("Exit codes:\n  0    done or as it should be\n  1    a check failed"));
    }
}
