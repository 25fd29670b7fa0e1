//! Why the work on a partition ends.

use domain::SeqError;
use eventlog::{LogError, PatientError, TopicPartition};
use process::RetryError;
use store::StoreError;

/// The work on a partition ends. Transient errors were retried before.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The process is stopping, which is no fault.
    #[error("stopped")]
    Stopped,
    /// The log cannot be read or written.
    #[error("{0}")]
    Log(#[from] LogError),
    /// The store cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The last record that was taken in is gone or another one now.
    #[error(
        "{0}: the record at offset {1} is not the one that was taken in before: the topic was re-created or cut short, or \
         this is another cluster; nothing of it was taken in (use the right log, or a new incarnation of the store)"
    )]
    NotTheLog(TopicPartition, u64),
    /// The partition is full.
    #[error("{0}")]
    Seq(#[from] SeqError),
    /// The group has assigned a partition of a topic that the consumer has no route for.
    #[error("{0}: this consumer does not know what to do with the topic")]
    NoRoute(TopicPartition),
}

impl From<PatientError> for ConsumerError {
    fn from(error: PatientError) -> Self {
        match error {
            PatientError::Log(error) => Self::Log(error),
            PatientError::NotTheLog(at, offset) => Self::NotTheLog(at, offset),
        }
    }
}

impl From<RetryError<StoreError>> for ConsumerError {
    fn from(given: RetryError<StoreError>) -> Self {
        match given {
            RetryError::Stopped => Self::Stopped,
            RetryError::Failed(error) => Self::Store(error),
        }
    }
}

impl From<RetryError<LogError>> for ConsumerError {
    fn from(given: RetryError<LogError>) -> Self {
        match given {
            RetryError::Stopped => Self::Stopped,
            RetryError::Failed(error) => Self::Log(error),
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
        let of_task = |error: ConsumerError| ConsumeError::Partition { at: at(), source: error.into() };
        assert!(is_of_another_incarnation(&*BoxError::from(replaced())));
        assert!(is_of_another_incarnation(&of_task(replaced().into())));
        assert!(!is_of_another_incarnation(&of_task(ConsumerError::Stopped)));
        assert!(!is_of_another_incarnation(&StoreError::Closed));
        let words = process::in_words(&of_task(replaced().into()));
        assert_eq!(words, format!("{}: {}", at(), replaced()), "no sentence twice");
    }
}
