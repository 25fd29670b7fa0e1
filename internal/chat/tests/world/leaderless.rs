//! A log with partitions that are without a leader: their ends cannot be asked for, which fails at once.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use eventlog::{
    AppendError, Commit, EventLog, GroupMember, LogError, NewRecord, PartitionReader, Receipt, SharedLog, TopicFound,
    TopicPartition, Watermarks,
};
use events::topics::TopicSpec;

pub(crate) struct Leaderless {
    log: SharedLog,
    without: Mutex<Vec<(&'static str, u32)>>,
}

impl Leaderless {
    pub(crate) fn new(log: SharedLog) -> Arc<Self> {
        Arc::new(Self { log, without: Mutex::default() })
    }

    /// From now on these are without a leader, and no others.
    pub(crate) fn set(&self, without: Vec<(&'static str, u32)>) {
        *self.without.lock().unwrap() = without;
    }
}

#[async_trait]
impl EventLog for Leaderless {
    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<Receipt, AppendError> {
        self.log.enqueue(topic, record).await
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        self.log.reader(topic, partition, from).await
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        let without = self.without.lock().unwrap().contains(&(topic, partition));
        if without { Err(LogError::Transient("no leader".into())) } else { self.log.watermarks(topic, partition).await }
    }

    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        self.log.offset_at(topic, partition, time_ms).await
    }

    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        self.log.join(group, topics).await
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        self.log.committed(group, at).await
    }

    async fn commit_offline(&self, group: &str, commits: &[(TopicPartition, Commit)]) -> Result<(), LogError> {
        self.log.commit_offline(group, commits).await
    }

    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        self.log.describe(topic).await
    }

    async fn create(&self, topic: &TopicSpec) -> Result<(), LogError> {
        self.log.create(topic).await
    }

    async fn close(&self) {
        self.log.close().await;
    }
}
