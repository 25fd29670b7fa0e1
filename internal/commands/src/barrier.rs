//! The barrier: a request that passed it reads from the store everything that was in the log when the request
//! arrived.

use std::sync::Arc;
use std::time::Duration;

use api::ApiError;
use domain::{ConversationId, Seq};
use eventlog::{SharedLog, partition_of_id};
use events::topics;
use store::{Consumer, SharedStore, Source};
use tokio::time::{Instant, timeout};

use crate::faults;
use crate::watermark::Watermarks;

/// How long to wait for the last position to be applied, before checking whether it holds a record.
const END_IS_RECORD_WITHIN: Duration = Duration::from_millis(300);

/// Waits for storage. Cheap to clone; clones share their requests to the log.
#[derive(Clone)]
pub struct Barrier {
    watermarks: Arc<Watermarks>,
    store: SharedStore,
}

impl Barrier {
    /// The barrier between this log and the store derived from it.
    #[must_use]
    pub fn new(log: SharedLog, store: SharedStore) -> Self {
        Self { watermarks: Arc::new(Watermarks::new(log)), store }
    }

    /// The partition of `chat.messages` that holds a conversation.
    #[must_use]
    pub fn source_of(conversation: ConversationId) -> Source {
        let partitions = topics::spec_of(topics::MESSAGES).partitions;
        let partition = partition_of_id(conversation.uuid(), partitions);
        Source { topic: topics::MESSAGES, partition }
    }

    /// The seq of the last position in the partition as of now; `None` for an empty partition.
    ///
    /// # Errors
    /// When the log does not answer.
    pub async fn watermark(&self, source: Source) -> Result<Option<Seq>, ApiError> {
        self.watermarks.end(source).await
    }

    /// Waits until everything up to `seq` is applied, at most for `wait`; returns whether it is.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, ApiError> {
        self.store.wait_applied(source, seq, wait).await.map_err(faults::of_store)
    }

    /// Waits until everything that is in the partition now is applied, at most for `wait`; returns whether it is.
    /// After that, the caller must check whether the conversation is held before it trusts the rows.
    ///
    /// # Errors
    /// When the log or the store does not answer.
    pub async fn passed(&self, source: Source, wait: Duration) -> Result<bool, ApiError> {
        let begun = Instant::now();
        let Ok(end) = timeout(wait, self.watermark(source)).await else { return Ok(false) };
        match end? {
            Some(seq) => self.applied_all(source, seq, begun + wait).await,
            None => Ok(true),
        }
    }

    /// Waits until everything up to the end at `seq` is applied, until the deadline. The last position may be the
    /// control record of another system's producer, which cannot be read and is never applied; so after a short
    /// wait this looks for the last record before it.
    async fn applied_all(&self, source: Source, seq: Seq, deadline: Instant) -> Result<bool, ApiError> {
        let left = || deadline.saturating_duration_since(Instant::now());
        if self.applied(source, seq, left().min(END_IS_RECORD_WITHIN)).await? {
            return Ok(true);
        }
        match timeout(left(), self.watermarks.last_record(source, seq)).await {
            Ok(Ok(Some(last))) => self.applied(source, last, left()).await,
            Ok(Ok(None)) => Ok(true),
            // The log does not answer: wait for the end itself.
            Ok(Err(error)) => {
                tracing::debug!(%error, "the last record before an end could not be looked for");
                self.applied(source, seq, left()).await
            }
            Err(_) => Ok(false),
        }
    }

    /// Whether storage holds the conversation: then its rows may lack skipped events.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn held(&self, conversation: ConversationId) -> Result<bool, ApiError> {
        let partition = Self::source_of(conversation).partition;
        let hold = self.store.hold(Consumer::Storage, partition, conversation).await;
        Ok(hold.map_err(faults::of_store)?.is_held())
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use environment::Clock;
    use eventlog::embedded::EmbeddedLog;
    use eventlog::wrapper::LogWrapper;
    use eventlog::{LogError, NewRecord, Watermarks as Marks, append};
    use events::Codec;
    use store::embedded::EmbeddedStore;
    use store::{Applied, ChatStore};

    use super::*;

    /// A log whose partitions end with control records of another system's transactions.
    struct Marked {
        inner: SharedLog,
        markers: u64,
    }

    #[async_trait]
    impl LogWrapper for Marked {
        fn inner(&self) -> SharedLog {
            self.inner.clone()
        }

        async fn watermarks(&self, topic: &str, partition: u32) -> Result<Marks, LogError> {
            let marks = self.inner.watermarks(topic, partition).await?;
            Ok(Marks { next: marks.next + self.markers, ..marks })
        }

        async fn last_before(&self, topic: &str, partition: u32, end: u64) -> Result<Option<u64>, LogError> {
            let marks = self.inner.watermarks(topic, partition).await?;
            Ok(end.min(marks.next).checked_sub(1))
        }
    }

    /// Issue 10, item 5: a control record is never applied, so no request may wait for it.
    #[tokio::test(start_paused = true)]
    async fn a_control_record_at_the_end_is_not_waited_for() {
        let clock = Clock::from_fn(|| 0);
        let inner: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        inner.create(topics::spec_of(topics::MESSAGES)).await.unwrap();
        let tick = Codec::compiled_in().tick();
        for _ in 0..2 {
            let (headers, payload) = (tick.headers.clone(), tick.payload.clone());
            let record = NewRecord { key: "tick".into(), partition: Some(3), headers, payload };
            append(&*inner, topics::MESSAGES, record).await.unwrap();
        }
        let store = EmbeddedStore::open(kv::Database::in_memory(), clock).await.unwrap();
        let barrier = |markers| {
            let log = Arc::new(Marked { inner: inner.clone(), markers });
            Barrier::new(log, store.attach().unwrap())
        };
        let (source, wait) = (Source { topic: topics::MESSAGES, partition: 3 }, Duration::from_secs(1));
        let apply = async |offset| {
            let applied = Applied { seq: Seq::new(0, offset).unwrap(), fingerprint: domain::Fingerprint(1) };
            store.set_applied(source, applied).await.unwrap();
        };
        apply(0).await;
        for markers in [0, 1, 5] {
            assert!(
                !barrier(markers).passed(source, wait).await.unwrap(),
                "a record before {markers} markers is missing"
            );
        }
        apply(1).await;
        for markers in [0, 1, 5] {
            assert!(barrier(markers).passed(source, wait).await.unwrap(), "there are only {markers} markers");
        }
        let empty = Source { topic: topics::MESSAGES, partition: 4 };
        assert!(barrier(2).passed(empty, wait).await.unwrap());
    }
}
