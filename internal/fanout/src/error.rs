//! Why a partition's work cannot go on.

use consumer::ConsumerError;
use eventlog::{AppendError, CommitError, LogError, TopicPartition};
use process::Given;

/// The partition's work ends. What a retry mends is retried before it comes to this.
#[derive(Debug, thiserror::Error)]
pub enum FanoutError {
    /// As any consumer's.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// Deliveries may be missing since the last commit: begin again from there.
    #[error("deliveries were not acknowledged: {0}")]
    Again(#[source] AppendError),
    /// The partition is another member's by now.
    #[error("the partition is no longer this member's")]
    Fenced,
    /// A delivery cannot be written, however often it is tried.
    #[error("a delivery cannot be written: {0}")]
    Delivery(#[source] AppendError),
    /// Commits are not taken.
    #[error("the position cannot be committed: {0}")]
    Commit(#[source] CommitError),
    /// Nothing says where to begin.
    #[error(
        "{0}: the group has no committed position: it has expired, or the topics were not made by 'klatschctl topics \
         apply'; nothing was skipped (say where the fan-out goes on with 'klatschctl groups set')"
    )]
    NoPosition(TopicPartition),
    /// The commit's metadata is not ours.
    #[error("{0}: the commit's metadata cannot be read: {1}")]
    Metadata(TopicPartition, String),
    /// The task that delivers to a partition that lags has panicked.
    #[error("the delivery to a partition that lags has panicked")]
    Follower,
}

impl FanoutError {
    /// The process is stopping: no fault.
    pub(crate) const STOPPED: Self = Self::Consumer(ConsumerError::Stopped);
}

impl From<LogError> for FanoutError {
    fn from(error: LogError) -> Self {
        Self::Consumer(error.into())
    }
}

impl From<domain::SeqError> for FanoutError {
    fn from(error: domain::SeqError) -> Self {
        Self::Consumer(error.into())
    }
}

impl From<Given<CommitError>> for FanoutError {
    fn from(given: Given<CommitError>) -> Self {
        match given {
            Given::Stopped => Self::STOPPED,
            Given::Up(CommitError::Fenced) => Self::Fenced,
            Given::Up(error @ (CommitError::Transient(_) | CommitError::Broken(_))) => Self::Commit(error),
        }
    }
}
