//! A log that fails now and then, as when partitions change leaders.

use async_trait::async_trait;
use environment::Entropy;
use eventlog::wrapper::{LogWrapper, SilentReader};
use eventlog::{Commit, LogError, PartitionReader, SharedLog, TopicPartition, Watermarks};

/// One call in three fails, and one reader in three returns nothing.
pub(crate) struct Fitful {
    pub(crate) inner: SharedLog,
    pub(crate) entropy: Entropy,
}

impl Fitful {
    fn meet(&self) -> Result<(), LogError> {
        if self.entropy.below(3) == 0 { Err(LogError::Transient("no leader".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl LogWrapper for Fitful {
    fn inner(&self) -> SharedLog {
        self.inner.clone()
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        if self.meet().is_err() {
            return Ok(Box::new(SilentReader));
        }
        self.inner.reader(topic, partition, from).await
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        self.meet()?;
        self.inner.watermarks(topic, partition).await
    }

    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        self.meet()?;
        self.inner.offset_at(topic, partition, time_ms).await
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        self.meet()?;
        self.inner.committed(group, at).await
    }
}
