//! The event log on Kafka, through librdkafka. Only this crate names `rdkafka`.
//!
//! It has one producer, and a second one where lossy records are sent; one consumer for all partitions that are
//! read, and more only when a partition has several readers; and one consumer per group membership. Everything
//! that blocks runs on plain threads or on the runtime's blocking threads; every wait and every queue has a bound.

mod config;
mod context;
mod errors;
mod lossy;
mod member;
pub mod mock;
mod producer;
mod reading;
mod requests;
mod statistics;
mod threads;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventlog::{
    AppendError, AppendReceipt, Commit, EventLog, GroupMember, LogError, METADATA_BYTES_MAX, NewRecord,
    PartitionReader, SharedLog, TopicFound, TopicPartition, Watermarks, partition_of,
};
use events::topics::TopicSpec;
use rdkafka::consumer::BaseConsumer;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{KafkaConfig, KafkaObservers};
pub use statistics::{
    Fetched, ProducerObserver, ProducerStatistics, Queued, ReaderObserver, ReaderStatistics, StatisticsObserver,
};

use context::Quiet;
use errors::broken;
use lossy::LossyProducer;
use producer::Producer;
use reading::Readers;
use requests::Requests;
use topics::Topics;

/// How long closing waits for the threads.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// The log on Kafka.
pub struct KafkaLog {
    config: KafkaConfig,
    producer: Producer,
    lossy: LossyProducer,
    readers: Readers,
    requests: Requests,
    topics: Topics,
    /// Ends the threads, the readers and the members.
    closing: CancellationToken,
    /// The threads.
    tasks: TaskTracker,
}

#[derive(Debug, thiserror::Error)]
#[error("the metadata of a commit is longer than {METADATA_BYTES_MAX} bytes")]
struct MetadataTooLong;

impl KafkaLog {
    /// Connects to the brokers and waits until records can be produced without delay.
    ///
    /// # Errors
    /// When a setting is wrong, or no broker answers in time.
    pub async fn connect(config: KafkaConfig) -> Result<SharedLog, LogError> {
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let readers = Readers::open(config.clone(), closing.clone(), tasks.clone())?;
        let topics = Topics::new(&config)?;
        let requests = Requests::new(config.clone());
        let lossy = LossyProducer::new(config.clone(), closing.clone(), tasks.clone());
        let ends = closing.clone().drop_guard();
        let producer = Producer::open(config.clone(), tasks.clone()).await?;
        ends.disarm();
        Ok(Arc::new(Self { config, producer, lossy, readers, requests, topics, closing, tasks }))
    }

    fn consumer(&self) -> Result<Arc<BaseConsumer<Quiet>>, LogError> {
        self.readers.consumer().filter(|_| !self.closing.is_cancelled()).ok_or(LogError::Closed)
    }

    /// The consumer for the request, and the partition, if it exists.
    async fn find(&self, topic: &str, partition: u32) -> Result<(Arc<BaseConsumer<Quiet>>, TopicPartition), LogError> {
        let consumer = self.consumer()?;
        if partition >= self.requests.partitions(&consumer, topic).await? {
            return Err(LogError::NoTopic(topic.to_owned()));
        }
        Ok((consumer, TopicPartition::new(topic, partition)))
    }

    /// The partition of a record.
    async fn choose_partition(&self, topic: &str, record: &NewRecord) -> Result<u32, AppendError> {
        let partitions = match self.consumer() {
            Ok(consumer) => self.requests.partitions(&consumer, topic).await,
            Err(error) => Err(error),
        };
        let partitions = partitions.map_err(|error| match error {
            LogError::NoTopic(topic) => AppendError::NoTopic(topic),
            LogError::Closed => AppendError::Closed,
            // The record was not accepted: the topic's partitions are not known, because the brokers do not
            // answer.
            LogError::Transient(_) | LogError::Broken(_) | LogError::OutOfRange { .. } => AppendError::Busy,
        })?;
        // Use the declared number of partitions: those that somebody added are ignored.
        let declared = events::topics::find(topic).map_or(partitions, |spec| spec.partitions);
        let partition = record.partition.unwrap_or_else(|| partition_of(record.key.as_bytes(), declared));
        if partition < partitions { Ok(partition) } else { Err(AppendError::NoTopic(topic.to_owned())) }
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        let partition = self.choose_partition(topic, &record).await?;
        self.producer.enqueue(topic, requests::number(partition), &record).await
    }

    fn send_lossy(&self, topic: &str, record: NewRecord) -> bool {
        // Whether the topic exists is not checked, because that would mean to wait. The producer drops records
        // without a topic.
        let partition = record.partition.filter(|_| events::topics::takes_lossy(topic));
        partition.is_some_and(|partition| self.lossy.send(topic, requests::number(partition), &record))
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let (_, at) = self.find(topic, partition).await?;
        self.readers.reader(at, from).await
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        let (consumer, at) = self.find(topic, partition).await?;
        self.requests.watermarks(&consumer, &at).await
    }

    async fn last_before(&self, topic: &str, partition: u32, end: u64) -> Result<Option<u64>, LogError> {
        let (consumer, at) = self.find(topic, partition).await?;
        let low = self.requests.watermarks(&consumer, &at).await?.low;
        self.requests.last_before(&consumer, &at, low, end).await
    }

    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        let (consumer, at) = self.find(topic, partition).await?;
        self.requests.offset_at(&consumer, &at, time_ms).await
    }

    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        for topic in topics {
            self.find(topic, 0).await?;
        }
        Ok(Box::new(member::join(&self.config, group, topics, self.closing.clone(), &self.tasks)?))
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        self.find(&at.topic, at.partition).await?;
        self.requests.committed(group, at).await
    }

    async fn commit_offline(&self, group: &str, commits: &[(TopicPartition, Commit)]) -> Result<(), LogError> {
        for (at, commit) in commits {
            self.find(&at.topic, at.partition).await?;
            if commit.metadata.len() > METADATA_BYTES_MAX {
                return Err(broken(MetadataTooLong));
            }
        }
        self.requests.commit_offline(group, commits).await
    }

    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        self.topics.describe(&self.consumer()?, topic).await
    }

    async fn create(&self, topic: &TopicSpec) -> Result<(), LogError> {
        self.topics.create(&self.consumer()?, topic).await
    }

    async fn close(&self) {
        self.end();
        if timeout(CLOSE_WAIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("closing the log on kafka took too long: its threads are left behind");
        }
    }
}

impl KafkaLog {
    /// Tells all threads to end; the producer's thread ends once it has delivered its queue.
    fn end(&self) {
        self.producer.close();
        self.closing.cancel();
        self.lossy.close();
        self.readers.close();
        self.tasks.close();
    }
}

impl Drop for KafkaLog {
    /// The threads end by themselves, without being awaited.
    fn drop(&mut self) {
        self.end();
    }
}
