//! A wrapper around a log: a type overrides the calls that it counts, or that shall fail in a test; all others go to
//! the inner log.

use async_trait::async_trait;
use events::topics::TopicSpec;

use crate::{
    AppendError, AppendReceipt, Commit, EventLog, GroupMember, LogError, NewRecord, PartitionReader, Record, SharedLog,
    TopicFound, TopicPartition, Watermarks,
};

/// A type that implements this trait is an [`EventLog`]. Each method that it does not override calls the inner
/// log.
#[async_trait]
#[expect(missing_docs, reason = "the same calls, with the same meaning")]
pub trait LogWrapper: Send + Sync + 'static {
    /// The log that is wrapped.
    fn inner(&self) -> SharedLog;

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        self.inner().enqueue(topic, record).await
    }

    fn send_lossy(&self, topic: &str, record: NewRecord) -> bool {
        self.inner().send_lossy(topic, record)
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        self.inner().reader(topic, partition, from).await
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        self.inner().watermarks(topic, partition).await
    }

    async fn last_before(&self, topic: &str, partition: u32, end: u64) -> Result<Option<u64>, LogError> {
        self.inner().last_before(topic, partition, end).await
    }

    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        self.inner().offset_at(topic, partition, time_ms).await
    }

    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        self.inner().join(group, topics).await
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        self.inner().committed(group, at).await
    }

    async fn commit_offline(&self, group: &str, commits: &[(TopicPartition, Commit)]) -> Result<(), LogError> {
        self.inner().commit_offline(group, commits).await
    }

    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        self.inner().describe(topic).await
    }

    async fn create(&self, topic: &TopicSpec) -> Result<(), LogError> {
        self.inner().create(topic).await
    }

    async fn close(&self) {
        self.inner().close().await;
    }
}

/// A reader that never returns a record, like the reader of a partition without a leader.
#[derive(Debug)]
pub struct SilentReader;

#[async_trait]
impl PartitionReader for SilentReader {
    async fn next(&mut self, _: usize) -> Result<Vec<Record>, LogError> {
        std::future::pending().await
    }
}

#[async_trait]
impl<L: LogWrapper> EventLog for L {
    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        LogWrapper::enqueue(self, topic, record).await
    }

    fn send_lossy(&self, topic: &str, record: NewRecord) -> bool {
        LogWrapper::send_lossy(self, topic, record)
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        LogWrapper::reader(self, topic, partition, from).await
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        LogWrapper::watermarks(self, topic, partition).await
    }

    async fn last_before(&self, topic: &str, partition: u32, end: u64) -> Result<Option<u64>, LogError> {
        LogWrapper::last_before(self, topic, partition, end).await
    }

    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        LogWrapper::offset_at(self, topic, partition, time_ms).await
    }

    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        LogWrapper::join(self, group, topics).await
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        LogWrapper::committed(self, group, at).await
    }

    async fn commit_offline(&self, group: &str, commits: &[(TopicPartition, Commit)]) -> Result<(), LogError> {
        LogWrapper::commit_offline(self, group, commits).await
    }

    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        LogWrapper::describe(self, topic).await
    }

    async fn create(&self, topic: &TopicSpec) -> Result<(), LogError> {
        LogWrapper::create(self, topic).await
    }

    async fn close(&self) {
        LogWrapper::close(self).await;
    }
}
