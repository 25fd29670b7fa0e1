//! Why the work on a partition ends.

use consumer::ConsumerError;
use eventlog::consume::{Ended, Outcome};
use eventlog::{PatientError, TopicPartition};

/// The work on the partition ends. Transient errors were retried before.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// An error that any consumer may have.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// A replay would leave a gap.
    #[error("{at}: a replay from offset {from} leaves a gap: the store has applied up to {applied:?}")]
    Gap {
        /// The partition.
        at: TopicPartition,
        /// The first offset of the replay.
        from: u64,
        /// The last offset applied.
        applied: Option<u64>,
    },
}

impl StorageError {
    /// How the work on a partition ended, in the terms of its group.
    pub(crate) fn outcome(ended: Result<(), Self>) -> Outcome {
        match ended {
            Ok(()) | Err(Self::Consumer(ConsumerError::Stopped)) => Ok(Ended::Stopped),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<PatientError> for StorageError {
    fn from(error: PatientError) -> Self {
        Self::Consumer(error.into())
    }
}
