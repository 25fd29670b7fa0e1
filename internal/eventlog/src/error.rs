//! What can go wrong with a log, sorted by what a caller does about it.

use environment::ErrorKind;

/// A record was not appended, or it cannot be told. It has no [`ErrorKind`]: what a caller does depends on whether the
/// record may be there all the same.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue is full: nothing was taken. Try again later.
    #[error("the log takes no more records at the moment: try again")]
    Busy,
    /// The record is larger than the log takes: nothing was taken.
    #[error("the record is larger than the log takes")]
    TooLarge,
    /// There is no such topic or partition: nothing was taken.
    #[error("no topic {0} with such a partition: run 'klatschctl topics apply'")]
    NoTopic(String),
    /// Not acknowledged in time: the record may be there now, may come to be there later, or never.
    #[error("the log did not answer in time: the record may or may not be there")]
    Unknown,
    /// The writer failed for good; records in flight may be there. The log opens a new one by itself, but answers this
    /// until every receipt of the old one has been read or dropped: nothing is appended behind a gap that its writer has
    /// not heard of.
    #[error("the log's writer failed for good: {0}")]
    Fatal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// A log could not be read, described or joined.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The offset is not there: trimmed, or beyond the end of a re-created topic.
    #[error("{topic}/{partition} has no offset {offset}: it was trimmed, or the topic is another one than it was")]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The offset asked for.
        offset: u64,
    },
    /// There is no such topic or partition.
    #[error("no topic {0} with such a partition: run 'klatschctl topics apply'")]
    NoTopic(String),
    /// The log does not answer at the moment: back off and try again.
    #[error("the log is not reachable: {0}")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Trying again will not help.
    #[error("the log failed: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// What a caller does about it.
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

    /// Whether trying again may mend it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }
}

/// A commit was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The member does not own the partition any more: its commits count for nothing. Stop working on it.
    #[error("this member no longer owns the partition")]
    Fenced,
    /// Not answered in time: try again, or let the next commit stand for it.
    #[error("the log is not reachable: {0}")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Trying again will not help.
    #[error("the log failed: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CommitError {
    /// What a caller does about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Fenced => ErrorKind::Superseded,
            Self::Transient(_) => ErrorKind::Transient,
            Self::Broken(_) => ErrorKind::Broken,
        }
    }

    /// Whether trying again may mend it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }
}
