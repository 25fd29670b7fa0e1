//! Why a partition's work cannot go on.

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
