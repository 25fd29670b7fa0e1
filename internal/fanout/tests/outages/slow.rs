//! A log whose reads take their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use eventlog::{
    AppendError, Commit, EventLog, GroupMember, LogError, NewRecord, PartitionReader, Receipt, Record, SharedLog,
    TopicFound, TopicPartition, Watermarks,
};
use events::topics::TopicSpec;
use tokio::time::{Instant, sleep_until};

/// The log, with each read of records taking so many milliseconds.
pub(crate) struct SlowLog {
    pub(crate) inner: SharedLog,
    pub(crate) read_ms: Arc<AtomicU64>,
}

struct SlowReader {
    inner: Box<dyn PartitionReader>,
    read_ms: Arc<AtomicU64>,
    /// When the read that is under way is done; whoever asked may have gone and come back meanwhile.
    done: Option<Instant>,
}

#[async_trait]
impl PartitionReader for SlowReader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        let takes = Duration::from_millis(self.read_ms.load(Ordering::SeqCst));
        sleep_until(*self.done.get_or_insert_with(|| Instant::now() + takes)).await;
        let records = self.inner.next(records_max).await;
        self.done = None;
        records
    }
}

#[async_trait]
impl EventLog for SlowLog {
    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<Receipt, AppendError> {
        self.inner.enqueue(topic, record).await
    }
    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let inner = self.inner.reader(topic, partition, from).await?;
        Ok(Box::new(SlowReader { inner, read_ms: Arc::clone(&self.read_ms), done: None }))
    }
    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        self.inner.watermarks(topic, partition).await
    }
    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        self.inner.offset_at(topic, partition, time_ms).await
    }
    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        self.inner.join(group, topics).await
    }
    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        self.inner.committed(group, at).await
    }
    async fn commit_offline(&self, group: &str, commits: &[(TopicPartition, Commit)]) -> Result<(), LogError> {
        self.inner.commit_offline(group, commits).await
    }
    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        self.inner.describe(topic).await
    }
    async fn create(&self, topic: &TopicSpec) -> Result<(), LogError> {
        self.inner.create(topic).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}
