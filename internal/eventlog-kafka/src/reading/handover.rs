//! What a reader thread hands over to one reader: the partition's queue, and why reading has failed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventlog::{LogError, TopicPartition};
use rdkafka::consumer::base_consumer::PartitionQueue;
use tokio::sync::Notify;

use crate::context::Quiet;
use crate::errors::{broken, transient};

/// Why a reader has failed.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    OutOfRange(u64),
    NoTopic,
    Transient(String),
    Broken(String),
}

/// Shared by a reader and its thread.
#[derive(Default)]
pub(crate) struct Handover {
    state: Mutex<State>,
    /// Notified when the reader should look: there are records, the queue, or a failure.
    pub(crate) changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// The partition's queue, until the reader takes it.
    queue: Option<PartitionQueue<Quiet>>,
    failure: Option<Failure>,
}

impl Handover {
    /// Gives the reader its queue.
    pub(crate) fn give(&self, queue: PartitionQueue<Quiet>) {
        self.lock().queue = Some(queue);
        self.changed.notify_one();
    }

    /// The queue, if it was given and not taken.
    pub(crate) fn take(&self) -> Option<PartitionQueue<Quiet>> {
        self.lock().queue.take()
    }

    /// Makes the reader fail with this error. What lies in its queue is read again by the next reader.
    pub(crate) fn fail(&self, failure: Failure) {
        self.lock().failure.get_or_insert(failure);
        self.changed.notify_one();
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    pub(crate) fn into_error(self, at: &TopicPartition) -> LogError {
        match self {
            Self::OutOfRange(offset) => {
                LogError::OutOfRange { topic: at.topic.clone(), partition: at.partition, offset }
            }
            Self::NoTopic => LogError::NoTopic(at.topic.clone()),
            Self::Transient(reason) => transient(reason),
            Self::Broken(reason) => broken(reason),
        }
    }
}
