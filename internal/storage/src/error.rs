//! Why a partition's work cannot go on.

use eventlog::consume::BoxError;
use eventlog::{LogError, PatientError, TopicPartition};
use runtime::Given;
use store::StoreError;

/// The partition's work ends. What a retry mends is retried before it comes to this.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The process is stopping: no fault.
    #[error("stopped")]
    Stopped,
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record behind which the store stands is not the one that it was.
    #[error(
        "{0}: the record at offset {1} is not the one that the store has applied: the topic was re-created or cut short, \
         or this is another cluster; nothing of it was written (use the right log, or a new incarnation of the store)"
    )]
    NotTheLog(TopicPartition, u64),
    /// A replay would leave a gap.
    #[error("{at}: a replay from offset {from} leaves a gap: the store has applied up to {applied:?}")]
    Gap {
        /// The partition.
        at: TopicPartition,
        /// Where the replay was to begin.
        from: u64,
        /// The last offset applied.
        applied: Option<u64>,
    },
    /// The partition is full.
    #[error(transparent)]
    Seq(#[from] domain::SeqError),
}

impl From<PatientError> for StorageError {
    fn from(error: PatientError) -> Self {
        match error {
            PatientError::Log(error) => Self::Log(error),
            PatientError::NotTheLog(at, offset) => Self::NotTheLog(at, offset),
        }
    }
}

impl From<Given<StoreError>> for StorageError {
    fn from(given: Given<StoreError>) -> Self {
        match given {
            Given::Stopped => Self::Stopped,
            Given::Up(error) => Self::Store(error),
        }
    }
}

impl From<Given<LogError>> for StorageError {
    fn from(given: Given<LogError>) -> Self {
        match given {
            Given::Stopped => Self::Stopped,
            Given::Up(error) => Self::Log(error),
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
        let of_task = error.downcast_ref::<StorageError>().and_then(|error| match error {
            StorageError::Store(error) => Some(error),
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

#[cfg(test)]
mod tests {
    use eventlog::consume::ConsumeError;

    use super::*;

    /// Issue 10, item 17: a switch and a way back, before the consumer has stopped for the first.
    #[test]
    fn a_switch_is_known_by_what_it_ended() {
        let replaced = || StoreError::Incarnation { pinned: 1, found: 2 };
        let at = || TopicPartition { topic: "chat.messages".into(), partition: 0 };
        let of_task = |error: StorageError| ConsumeError::Partition { at: at(), source: error.into() };
        assert!(is_of_another_incarnation(&Err(replaced().into())));
        assert!(is_of_another_incarnation(&Err(of_task(replaced().into()).into())));
        assert!(!is_of_another_incarnation(&Err(of_task(StorageError::Stopped).into())));
        assert!(!is_of_another_incarnation(&Err(StoreError::Closed.into())));
        assert!(!is_of_another_incarnation(&Ok(())));
    }
}
