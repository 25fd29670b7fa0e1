//! Why the work on a partition ends.

use consumer::ConsumerError;
use eventlog::consume::{Ended, Outcome};
use eventlog::{AppendError, CommitError, LogError, TopicPartition};
use process::RetryError;

/// The work on the partition ends. Transient errors were retried before.
#[derive(Debug, thiserror::Error)]
pub enum FanoutError {
    /// An error that any consumer may have.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// Deliveries since the last commit may be missing: the work begins again from there.
    #[error("deliveries were not acknowledged: {0}")]
    Again(#[source] AppendError),
    /// Another member owns the partition by now.
    #[error("the partition is no longer this member's")]
    Fenced,
    /// A delivery cannot be written, however often it is tried.
    #[error("a delivery cannot be written: {0}")]
    Delivery(#[source] AppendError),
    /// Commits are refused.
    #[error("the position cannot be committed: {0}")]
    Commit(#[source] CommitError),
    /// There is no commit to begin from.
    #[error(
        "{0}: the group has no committed position: it has expired, or the topics were not made by 'klatschctl topics \
         apply'; nothing was skipped (say where the fan-out goes on with 'klatschctl groups set')"
    )]
    NoPosition(TopicPartition),
    /// The commit's metadata has an unknown format.
    #[error("{0}: the commit's metadata cannot be read: {1}")]
    Metadata(TopicPartition, String),
    /// The follower of a lagging delivery partition has panicked.
    #[error("the delivery to a partition that lags has panicked")]
    Follower,
}

impl FanoutError {
    /// The process is stopping, which is no fault.
    pub(crate) const STOPPED: Self = Self::Consumer(ConsumerError::Stopped);

    /// How the work on the partition `at` ended, in the terms of its group.
    pub(crate) fn outcome(ended: Result<(), Self>, at: &TopicPartition) -> Outcome {
        match ended {
            Ok(()) | Err(Self::Consumer(ConsumerError::Stopped)) => Ok(Ended::Stopped),
            // A revocation should follow; if it does not, the partition is still ours and must not stand still.
            Err(Self::Fenced) => Ok(Ended::Again),
            Err(Self::Again(error)) => {
                tracing::warn!(partition = %at, %error, "deliveries not acknowledged");
                Ok(Ended::Again)
            }
            Err(error) => Err(error.into()),
        }
    }
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

impl From<RetryError<CommitError>> for FanoutError {
    fn from(given: RetryError<CommitError>) -> Self {
        match given {
            RetryError::Stopped => Self::STOPPED,
            RetryError::Failed(CommitError::Fenced) => Self::Fenced,
            RetryError::Failed(error @ (CommitError::Transient(_) | CommitError::Broken(_))) => Self::Commit(error),
        }
    }
}
