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
use crate::threads::{self, Mailbox};
use handover::Handover;
use reader_thread::{Command, ReaderThread};
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
        let first = readers.lane()?;
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
        let turn = self.turn(&at).await?;
        let mailbox = self.take_lane(&at)?;
        let handover = Arc::new(Handover::default());
        mailbox.post(Command::Open { at: at.clone(), from, handover: Arc::clone(&handover), turn });
        let (closing, buffer) = (self.closing.clone(), BytesMut::new());
        Ok(Box::new(Reader { at, next: from, queue: None, buffer, handover, mailbox, closing }))
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
        let lane = self.lane()?;
        free(&lane);
        let mailbox = Arc::clone(&lane.mailbox);
        lanes.push(lane);
        Ok(mailbox)
    }

    fn lane(&self) -> Result<Handle, LogError> {
        let mailbox = Arc::new(Mailbox::new());
        let mut consumer = BaseConsumer::from_config_and_context(&self.config.reader(), Quiet).map_err(broken)?;
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
        while records.len() < records_max {
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let record = to_record(&message, &mut self.buffer);
                    if record.offset >= self.next {
                        self.next = record.offset + 1;
                        records.push(record);
                    }
                }
                Some(Err(error)) => {
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
            let records = self.take(records_max.max(1));
            if !records.is_empty() {
                return Ok(records);
            }
            if let Some(failure) = self.handover.failure() {
                return Err(failure.into_error(&self.at));
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
