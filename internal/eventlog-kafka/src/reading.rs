//! Reading partitions: reader threads, each with a consumer, and readers that each get their records from one
//! thread.

mod reader_thread;
mod record;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use eventlog::{LogError, PartitionReader, Record, TopicPartition};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::KafkaConfig;
use crate::context::Quiet;
use crate::errors::{broken, transient};
use crate::threads::{self, Mailbox};
use reader_thread::{Command, ReaderThread};
use shelf::Shelf;

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
        let shelf = Arc::new(Shelf::new());
        mailbox.post(Command::Open { at: at.clone(), from, shelf: Arc::clone(&shelf), turn });
        Ok(Box::new(Reader { at, shelf, mailbox, closing: self.closing.clone() }))
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
            buffer: BytesMut::new(),
        };
        let closing = self.closing.clone();
        threads::spawn("kafka-reader", &self.tasks, move || lane.run(&closing))?;
        Ok(Handle { consumer, mailbox, taken })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one partition's records from its shelf, a bounded buffer.
struct Reader {
    at: TopicPartition,
    shelf: Arc<Shelf>,
    /// The mailbox of the reader thread.
    mailbox: Arc<Mailbox<Command>>,
    closing: CancellationToken,
}

#[async_trait]
impl PartitionReader for Reader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        loop {
            if self.closing.is_cancelled() {
                return Err(LogError::Closed);
            }
            let (taken, resume) = self.shelf.take(records_max.max(1));
            if resume {
                self.mailbox.post(Command::Resume(self.at.clone()));
            }
            match taken {
                Ok(records) if records.is_empty() => {}
                Ok(records) => return Ok(records),
                Err(failure) => return Err(failure.into_error(&self.at)),
            }
            tokio::select! {
                biased;
                () = self.closing.cancelled() => {}
                // A notification between the check and the wait is not lost: `filled` keeps it.
                () = self.shelf.filled.notified() => {}
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.mailbox.post(Command::Close(self.at.clone()));
    }
}
