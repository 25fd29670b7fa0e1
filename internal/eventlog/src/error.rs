//! The errors of a log, sorted by what a caller does about them.

use environment::ErrorKind;

/// A record was not appended, or its fate is unknown. The type has no [`ErrorKind`]: what a caller does depends on
/// whether the record may be in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue is full: the record was not accepted. Retry later.
    #[error("the log takes no more records at the moment: try again")]
    Busy,
    /// The record is larger than [`crate::RECORD_BYTES_MAX`]: it was not accepted.
    #[error("the record is larger than the log takes")]
    TooLarge,
    /// The topic or partition does not exist: the record was not accepted.
    #[error("no topic {0} with such a partition: run 'klatschctl topics apply'")]
    NoTopic(String),
    /// Not acknowledged in time: the record may be in the log, may be appended later, or never.
    #[error("the log did not answer in time: the record may or may not be there")]
    Unknown,
    /// The writer failed for good; records in flight may be in the log. The log opens a new writer by itself, but
    /// fails with this error until every receipt of the old writer has been read or dropped: nothing is appended
    /// after a lost record whose producer has not yet heard of the loss.
    #[error("the log's writer failed for good: {0}")]
    Fatal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Reading, describing or joining a log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The offset does not exist: it was trimmed, or lies beyond the end of a re-created topic.
    #[error("{topic}/{partition} has no offset {offset}: it was trimmed, or the topic is another one than it was")]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The offset asked for.
        offset: u64,
    },
    /// The topic or partition does not exist.
    #[error("no topic {0} with such a partition: run 'klatschctl topics apply'")]
    NoTopic(String),
    /// The log does not answer at the moment: back off and retry.
    #[error("the log is not reachable: {0}")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A retry will not help.
    #[error("the log failed: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// The kind of the error, which decides what a caller does.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange { .. } => ErrorKind::OutOfRange,
            Self::NoTopic(_) => ErrorKind::Missing,
            Self::Transient(_) => ErrorKind::Transient,
            Self::Broken(_) => ErrorKind::Broken,
            Self::Closed => ErrorKind::Closed,
        }
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }
}

/// A commit failed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The member no longer owns the partition: its commits are refused. Stop working on the partition.
    #[error("this member no longer owns the partition")]
    Fenced,
    /// Not answered in time: retry, or leave it to the next commit.
    #[error("the log is not reachable: {0}")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A retry will not help.
    #[error("the log failed: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CommitError {
    /// The kind of the error, which decides what a caller does.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Fenced => ErrorKind::Superseded,
            Self::Transient(_) => ErrorKind::Transient,
            Self::Broken(_) => ErrorKind::Broken,
        }
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }
}
