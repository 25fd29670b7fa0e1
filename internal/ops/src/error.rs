//! Why an operation was not done, and the exit code that says so.

use environment::ErrorKind;
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
    /// Told to stop, by Ctrl-C or SIGTERM, before it was done (128 + SIGINT, as shells have it).
    Stopped = 130,
}

impl Exit {
    /// Every exit code and what it means: the help texts are made from this, and every command ends by it.
    pub const TABLE: [(Self, &str); 6] = [
        (Self::Ok, "done or as it should be"),
        (Self::Differs, "a check failed, something differs or what was found forbids it"),
        (Self::Usage, "called or configured wrongly"),
        (Self::Unavailable, "a server or the data folder is not to be had"),
        (Self::Failed, "failed"),
        (Self::Stopped, "stopped by Ctrl-C or SIGTERM before it was done"),
    ];

    /// The table as a help text shows it.
    #[must_use]
    pub fn help() -> String {
        let lines = Self::TABLE.map(|(exit, meaning)| format!("\n  {:<3}  {meaning}", exit as u8));
        format!("Exit codes:{}", lines.concat())
    }
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
    /// The data folder is not there, or cannot be opened.
    #[error("{0}")]
    Absent(String),
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
    /// Told to stop before it was done: what that leaves.
    #[error("stopped before it was done: {0}")]
    Stopped(String),
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
    /// Told to stop, where nothing more particular is known of what that leaves.
    #[must_use]
    pub fn stopped() -> Self {
        Self::Stopped("what was done by then is done".into())
    }

    /// The same error; of one that says that it was stopped, with these words.
    #[must_use]
    pub fn leaving(self, words: impl Into<String>) -> Self {
        if matches!(self, Self::Stopped(_)) { Self::Stopped(words.into()) } else { self }
    }

    /// A failed call to the operating system.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// The exit code that says it.
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

/// How a command ends that the log or the store did not do.
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
