//! A log whose `chat.deliveries` can be re-created, as by an operator who deletes the topic.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use eventlog::wrapper::LogWrapper;
use eventlog::{
    AppendError, AppendReceipt, LogError, NewRecord, PartitionReader, Record, SharedLog, TopicFound, Watermarks,
};
use events::topics::{DELIVERIES, TopicSpec};
use tokio::sync::Notify;

use super::Made;

/// The log that processes use.
pub(crate) struct Switch {
    inner: SharedLog,
    /// The log that currently holds `chat.deliveries`.
    deliveries: Mutex<SharedLog>,
    age: Arc<Age>,
}

/// How often the topic was re-created.
#[derive(Default)]
struct Age {
    times: AtomicU32,
    changed: Notify,
}

impl Switch {
    pub(crate) fn over(inner: SharedLog) -> Arc<Self> {
        let deliveries = Mutex::new(Arc::clone(&inner));
        Arc::new(Self { inner, deliveries, age: Arc::default() })
    }

    /// From now on, `chat.deliveries` is that of `log`.
    pub(crate) fn replace(&self, log: SharedLog) {
        *self.deliveries.lock().unwrap_or_else(PoisonError::into_inner) = log;
        self.age.times.fetch_add(1, Ordering::SeqCst);
        self.age.changed.notify_waiters();
    }

    fn of(&self, topic: &str) -> SharedLog {
        let deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        if topic == DELIVERIES { deliveries.clone() } else { self.inner.clone() }
    }
}

#[async_trait]
impl LogWrapper for Switch {
    fn inner(&self) -> SharedLog {
        self.inner.clone()
    }

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        self.of(topic).enqueue(topic, record).await
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let of = self.age.times.load(Ordering::SeqCst);
        let inner = self.of(topic).reader(topic, partition, from).await?;
        if topic != DELIVERIES {
            return Ok(inner);
        }
        Ok(Box::new(Reader { inner, age: Arc::clone(&self.age), of }))
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        self.of(topic).watermarks(topic, partition).await
    }

    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        self.of(topic).offset_at(topic, partition, time_ms).await
    }

    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        self.of(&topic.name).describe(topic).await
    }
}

/// A reader of `chat.deliveries`, which fails once the topic was re-created.
struct Reader {
    inner: Box<dyn PartitionReader>,
    age: Arc<Age>,
    /// How often the topic had been re-created when this reader was opened.
    of: u32,
}

#[async_trait]
impl PartitionReader for Reader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        let mut changed = std::pin::pin!(self.age.changed.notified());
        changed.as_mut().enable();
        if self.age.times.load(Ordering::SeqCst) == self.of {
            tokio::select! {
                biased;
                () = changed => {}
                records = self.inner.next(records_max) => return records,
            }
        }
        Err(LogError::Transient(Box::new(Made("the topic is gone"))))
    }
}
