//! Why a partition's work cannot go on.

use consumer::ConsumerError;
use eventlog::{PatientError, TopicPartition};

/// The partition's work ends. What a retry mends is retried before it comes to this.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// As any consumer's.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
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
}

impl From<PatientError> for StorageError {
    fn from(error: PatientError) -> Self {
        Self::Consumer(error.into())
    }
}
