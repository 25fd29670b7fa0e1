//! Why a partition's work cannot go on.

use eventlog::consume::BoxError;
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
    #[error(transparent)]
    Log(#[from] LogError),
    /// A delivery cannot be written, however often it is tried.
    #[error("a delivery cannot be written: {0}")]
    Delivery(#[source] AppendError),
    /// Commits are not taken.
    #[error("the position cannot be committed: {0}")]
    Commit(#[source] CommitError),
    /// The store cannot be used.
    #[error(transparent)]
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
    #[error(transparent)]
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

/// Whether work ended because another incarnation became current.
pub(crate) fn is_of_another_incarnation(ended: &Result<(), BoxError>) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = match ended {
        Ok(()) => None,
        Err(error) => Some(&**error),
    };
    while let Some(error) = cause {
        let of_store = error.downcast_ref::<StoreError>();
        let of_task = error.downcast_ref::<FanoutError>().and_then(|error| match error {
            FanoutError::Store(error) => Some(error),
            _ => None,
        });
        if let Some(StoreError::Incarnation { .. }) = of_store.or(of_task) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether trying again may mend it.
pub(crate) fn transient_store(error: &StoreError) -> bool {
    match error {
        StoreError::Transient(_) => true,
        StoreError::Incarnation { .. }
        | StoreError::NotMigrated(_)
        | StoreError::Misconfigured(_)
        | StoreError::Malformed(_)
        | StoreError::Broken(_)
        | StoreError::Closed => false,
    }
}

/// Whether trying again may mend it.
pub(crate) fn transient_log(error: &LogError) -> bool {
    match error {
        LogError::Transient(_) => true,
        LogError::OutOfRange { .. } | LogError::NoTopic(_) | LogError::Broken(_) | LogError::Closed => false,
    }
}

/// Whether trying again may mend it.
pub(crate) fn transient_commit(error: &CommitError) -> bool {
    match error {
        CommitError::Transient(_) => true,
        CommitError::Fenced | CommitError::Broken(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use eventlog::consume::ConsumeError;

    use super::*;

    /// Issue 10, item 17: a switch and a way back, before the consumer has stopped for the first.
    #[test]
    fn a_switch_is_known_by_what_it_ended() {
        let replaced = || StoreError::Incarnation { pinned: 1, found: 2 };
        let at = || TopicPartition { topic: "chat.messages".into(), partition: 0 };
        let of_task = |error: FanoutError| ConsumeError::Partition { at: at(), source: error.into() };
        assert!(is_of_another_incarnation(&Err(replaced().into())));
        assert!(is_of_another_incarnation(&Err(of_task(replaced().into()).into())));
        assert!(!is_of_another_incarnation(&Err(of_task(FanoutError::Stopped).into())));
        assert!(!is_of_another_incarnation(&Err(StoreError::Closed.into())));
        assert!(!is_of_another_incarnation(&Ok(())));
    }
}
