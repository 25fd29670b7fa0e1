//! The barrier: what was in the log when a request came is in the store when it is answered.

use std::sync::Arc;
use std::time::Duration;

use api::ApiError;
use domain::{ConversationId, Seq};
use eventlog::{SharedLog, partition_of};
use events::topics;
use store::{Consumer, SharedStore, Source};
use tokio::time::{Instant, timeout};

use crate::faults;
use crate::watermark::Watermarks;

/// Waits for storage. Cheap to clone; clones share their questions to the log.
#[derive(Clone)]
pub struct Barrier {
    watermarks: Arc<Watermarks>,
    store: SharedStore,
}

impl Barrier {
    /// The barrier between that log and the store derived from it.
    #[must_use]
    pub fn new(log: SharedLog, store: SharedStore) -> Self {
        Self { watermarks: Arc::new(Watermarks::new(log)), store }
    }

    /// The partition of `chat.messages` that holds a conversation.
    #[must_use]
    pub fn source_of(conversation: ConversationId) -> Source {
        let partitions = topics::spec_of(topics::MESSAGES).partitions;
        let partition = partition_of(conversation.to_string().as_bytes(), partitions);
        Source { topic: topics::MESSAGES, partition }
    }

    /// The place of the last record that is in the partition now; `None` for an empty one.
    ///
    /// # Errors
    /// When the log cannot be asked.
    pub async fn watermark(&self, source: Source) -> Result<Option<Seq>, ApiError> {
        self.watermarks.end(source).await
    }

    /// Whether everything up to `seq` is applied, waiting for it at most so long.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, ApiError> {
        self.store.wait_applied(source, seq, wait).await.map_err(faults::of_store)
    }

    /// Whether everything that is in the partition now gets applied within `wait`. After a yes, whether a conversation
    /// is held has to be asked before its rows mean anything.
    ///
    /// # Errors
    /// When the log or the store cannot be asked.
    pub async fn passed(&self, source: Source, wait: Duration) -> Result<bool, ApiError> {
        let begun = Instant::now();
        let Ok(end) = timeout(wait, self.watermark(source)).await else { return Ok(false) };
        match end? {
            Some(seq) => self.applied(source, seq, wait.saturating_sub(begun.elapsed())).await,
            None => Ok(true),
        }
    }

    /// Whether storage holds the conversation: its rows may lack what was skipped.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn held(&self, conversation: ConversationId) -> Result<bool, ApiError> {
        let partition = Self::source_of(conversation).partition;
        let hold = self.store.hold(Consumer::Storage, partition, conversation).await;
        Ok(hold.map_err(faults::of_store)?.is_held())
    }
}
