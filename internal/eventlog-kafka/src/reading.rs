//! Reading partitions: readers, each with the queue of its partition, and the threads that assign partitions to
//! consumers.
//!
//! librdkafka fetches ahead into a queue for each partition, within bounds ([`KafkaConfig::reader`]), and fetches no
//! further while a reader leaves its queue full. A reader takes records from its queue by itself: no thread and no buffer
//! of ours stands between. Pausing a partition is not used for that: it drops what was fetched, and whole batches are
//! fetched and decompressed again.

mod handover;
mod reader_thread;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use eventlog::{LogError, PartitionReader, Record, TopicPartition};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::KafkaConfig;
use crate::context::Quiet;
use crate::errors::{broken, transient};
use crate::statistics::ReaderLooks;
use crate::threads::{self, Mailbox};
use handover::Handover;
use reader_thread::{Command, ReaderThread, is_passing};
use record::to_record;

/// The most readers of one partition at the same time; further ones wait.
const READERS_MAX: usize = 12;
/// How long a reader waits for its permit.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// The partitions that one reader thread reads.
type Taken = BTreeSet<TopicPartition>;

/// Creates readers.
pub(crate) struct Readers {
    config: KafkaConfig,
    lanes: Mutex<Vec<Handle>>,
    /// The permits for readers, by partition.
    turns: Mutex<BTreeMap<TopicPartition, Arc<Semaphore>>>,
    closing: CancellationToken,
    /// The reader threads.
    tasks: TaskTracker,
}

/// The handle of a reader thread.
struct Handle {
    consumer: Arc<BaseConsumer<Quiet>>,
    mailbox: Arc<Mailbox<Command>>,
    taken: Arc<Mutex<Taken>>,
}

impl Readers {
    /// Starts the first reader thread.
    pub(crate) fn open(config: KafkaConfig, closing: CancellationToken, tasks: TaskTracker) -> Result<Self, LogError> {
        let readers = Self { config, lanes: Mutex::default(), turns: Mutex::default(), closing, tasks };
        let first = readers.lane(0)?;
        readers.lock().push(first);
        Ok(readers)
    }

    /// The first thread's consumer, which also serves requests about topics.
    pub(crate) fn consumer(&self) -> Option<Arc<BaseConsumer<Quiet>>> {
        self.lock().first().map(|lane| Arc::clone(&lane.consumer))
    }

    /// Drops the handles; the threads end with `closing`.
    pub(crate) fn close(&self) {
        self.lock().clear();
    }

    /// A reader of a partition that exists.
    pub(crate) async fn reader(&self, at: TopicPartition, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        Ok(Box::new(self.open_reader(at, from).await?))
    }

    async fn open_reader(&self, at: TopicPartition, from: u64) -> Result<Reader, LogError> {
        let turn = self.turn(&at).await?;
        let mailbox = self.take_lane(&at)?;
        let handover = Arc::new(Handover::default());
        mailbox.post(Command::Open { at: at.clone(), from, handover: Arc::clone(&handover), turn });
        let (closing, buffer) = (self.closing.clone(), BytesMut::new());
        Ok(Reader { at, next: from, queue: None, halted: false, buffer, handover, mailbox, closing })
    }

    async fn turn(&self, at: &TopicPartition) -> Result<OwnedSemaphorePermit, LogError> {
        let turns = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(at.clone()).or_insert_with(|| Arc::new(Semaphore::new(READERS_MAX))))
        };
        let turn = timeout(TURN_WAIT, turns.acquire_owned()).await;
        turn.map_err(|_| transient(format!("{at} has too many readers")))?.map_err(broken)
    }

    /// A reader thread that does not read the partition yet, marked as reading it.
    fn take_lane(&self, at: &TopicPartition) -> Result<Arc<Mailbox<Command>>, LogError> {
        let mut lanes = self.lock();
        if self.closing.is_cancelled() {
            return Err(LogError::Closed);
        }
        let free = |lane: &Handle| lane.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(at.clone());
        if let Some(lane) = lanes.iter().find(|lane| free(lane)) {
            return Ok(Arc::clone(&lane.mailbox));
        }
        let lane = self.lane(lanes.len())?;
        free(&lane);
        let mailbox = Arc::clone(&lane.mailbox);
        lanes.push(lane);
        Ok(mailbox)
    }

    /// The thread of that number, counted from 0.
    fn lane(&self, number: usize) -> Result<Handle, LogError> {
        let mailbox = Arc::new(Mailbox::new());
        let looks = Some(ReaderLooks::new(number, self.config.observers.readers.clone()));
        let context = Quiet { looks };
        let mut consumer = BaseConsumer::from_config_and_context(&self.config.reader(), context).map_err(broken)?;
        let waking = Arc::clone(&mailbox);
        consumer.set_nonempty_callback(move || waking.wake());
        let (consumer, taken) = (Arc::new(consumer), Arc::new(Mutex::new(Taken::new())));
        let lane = ReaderThread {
            consumer: Arc::clone(&consumer),
            mailbox: Arc::clone(&mailbox),
            taken: Arc::clone(&taken),
            reading: BTreeMap::new(),
        };
        let closing = self.closing.clone();
        threads::spawn("kafka-reader", &self.tasks, move || lane.run(&closing))?;
        Ok(Handle { consumer, mailbox, taken })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one partition's records from its queue.
struct Reader {
    at: TopicPartition,
    /// The lowest offset that the next record may have.
    next: u64,
    /// `None` until the thread has assigned the partition.
    queue: Option<PartitionQueue<Quiet>>,
    /// The queue had an error behind which records may be missing: nothing more is taken from it.
    halted: bool,
    /// Room for the bytes of the next records.
    buffer: BytesMut,
    handover: Arc<Handover>,
    /// The mailbox of the reader thread.
    mailbox: Arc<Mailbox<Command>>,
    closing: CancellationToken,
}

impl Reader {
    /// At most `records_max` of the records that are there.
    fn take(&mut self, records_max: usize) -> Vec<Record> {
        if self.queue.is_none() {
            self.queue = self.handover.take();
        }
        let (mut records, Some(queue)) = (Vec::new(), &self.queue) else { return Vec::new() };
        while records.len() < records_max && !self.halted {
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let record = to_record(&message, &mut self.buffer);
                    if record.offset >= self.next {
                        self.next = record.offset + 1;
                        records.push(record);
                    }
                }
                Some(Err(error)) if is_passing(&error) => {
                    tracing::debug!(%error, partition = %self.at, "reading goes on");
                }
                Some(Err(error)) => {
                    self.halted = true;
                    let (at, next) = (self.at.clone(), self.next);
                    self.mailbox.post(Command::Fault { at, next, error });
                }
            }
        }
        records
    }
}

#[async_trait]
impl PartitionReader for Reader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        loop {
            if self.closing.is_cancelled() {
                return Err(LogError::Closed);
            }
            // Before anything is taken: a record may be missing before those that are there.
            if let Some(failure) = self.handover.failure() {
                return Err(failure.into_error(&self.at));
            }
            let records = self.take(records_max.max(1));
            if !records.is_empty() {
                return Ok(records);
            }
            tokio::select! {
                biased;
                () = self.closing.cancelled() => {}
                // A notification between the check and the wait is not lost: `changed` keeps it.
                () = self.handover.changed.notified() => {}
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Before the partition can be another reader's: this ends the notifications of the queue that they would share.
        drop(self.queue.take());
        self.mailbox.post(Command::Close(self.at.clone()));
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

    use super::*;
    use crate::reading::handover::Failure;

    const TOPIC: &str = "topic";

    /// When a record went astray, those behind it must not be taken for the next ones.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_that_has_failed_hands_out_nothing_of_what_lies_in_its_queue() {
        let cluster: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        let config = KafkaConfig::new(cluster.bootstrap_servers(), "readers");
        let bootstrap = cluster.bootstrap_servers();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        for _ in 0..3 {
            producer.send(BaseRecord::<(), str>::to(TOPIC).partition(0).payload("record")).unwrap();
        }
        producer.flush(Duration::from_secs(60)).unwrap();
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let readers = Readers::open(config, closing.clone(), tasks.clone()).unwrap();
        let mut reader = readers.open_reader(TopicPartition::new(TOPIC, 0), 0).await.unwrap();
        assert_eq!(timeout(Duration::from_secs(60), reader.next(1)).await.unwrap().unwrap().len(), 1);
        reader.handover.fail(Failure::Transient("a record went astray".into()));
        assert!(timeout(Duration::from_secs(60), reader.next(10)).await.unwrap().is_err(), "there are two more");
        drop(reader);
        closing.cancel();
        readers.close();
        tasks.close();
        tasks.wait().await;
    }
}
