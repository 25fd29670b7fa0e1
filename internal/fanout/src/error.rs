//! Why a partition's work cannot go on.

use eventlog::{AppendError, CommitError, LogError, TopicPartition};
use runtime::Given;
use store::StoreError;

/// The partition's work ends. What a retry mends is retried before it comes to this.
#[derive(Debug, thiserror::Error)]
pub enum FanoutError {
    /// The process is stopping: no fault.
    #[error("stopped")]
    Stopped,
    /// Deliveries may be missing since the last commit: begin again from there.
    #[error("deliveries were not acknowledged: {0}")]
    Again(#[source] AppendError),
    /// The partition is another member's by now.
    #[error("the partition is no longer this member's")]
    Fenced,
    /// The log cannot be read or written.
    #[error("{0}")]
    Log(#[from] LogError),
    /// A delivery cannot be written, however often it is tried.
    #[error("a delivery cannot be written: {0}")]
    Delivery(#[source] AppendError),
    /// Commits are not taken.
    #[error("the position cannot be committed: {0}")]
    Commit(#[source] CommitError),
    /// The store cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Nothing says where to begin.
    #[error(
        "{0}: the group has no committed position: it has expired, or the topics were not made by 'klatschctl topics \
         apply'; nothing was skipped (say where the fan-out goes on with 'klatschctl groups set')"
    )]
    NoPosition(TopicPartition),
    /// The record before the position is not the one that it was.
    #[error(
        "{0}: the record before offset {1} is not the one that was committed or read: the topic was re-created or cut \
         short, or this is another cluster; nothing of it was delivered"
    )]
    NotTheLog(TopicPartition, u64),
    /// The commit's metadata is not ours.
    #[error("{0}: the commit's metadata cannot be read: {1}")]
    Metadata(TopicPartition, String),
    /// The task that delivers to a partition that lags has panicked.
    #[error("the delivery to a partition that lags has panicked")]
    Follower,
    /// The partition is full.
    #[error("{0}")]
    Seq(#[from] domain::SeqError),
}

impl From<Given<StoreError>> for FanoutError {
    fn from(given: Given<StoreError>) -> Self {
        match given {
            Given::Stopped => Self::Stopped,
            Given::Up(error) => Self::Store(error),
        }
    }
}

impl From<Given<LogError>> for FanoutError {
    fn from(given: Given<LogError>) -> Self {
        match given {
            Given::Stopped => Self::Stopped,
            Given::Up(error) => Self::Log(error),
        }
    }
}

impl From<Given<CommitError>> for FanoutError {
    fn from(given: Given<CommitError>) -> Self {
        match given {
            Given::Stopped => Self::Stopped,
            Given::Up(CommitError::Fenced) => Self::Fenced,
            Given::Up(error @ (CommitError::Transient(_) | CommitError::Broken(_))) => Self::Commit(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use eventlog::consume::{BoxError, ConsumeError};
    use store::is_of_another_incarnation;

    use super::*;

    /// Issue 10, item 17: a switch and a way back, before the consumer has stopped for the first.
    #[test]
    fn a_switch_is_known_by_what_it_ended() {
        let replaced = || StoreError::Incarnation { pinned: 1, found: 2 };
        let at = || TopicPartition { topic: "chat.messages".into(), partition: 0 };
        let of_task = |error: FanoutError| ConsumeError::Partition { at: at(), source: error.into() };
        assert!(is_of_another_incarnation(&*BoxError::from(replaced())));
        assert!(is_of_another_incarnation(&of_task(replaced().into())));
        assert!(!is_of_another_incarnation(&of_task(FanoutError::Stopped)));
        assert!(!is_of_another_incarnation(&StoreError::Closed));
        let words = runtime::in_words(&of_task(replaced().into()));
        assert_eq!(words, format!("{}: {}", at(), replaced()), "no sentence twice");
    }
}
