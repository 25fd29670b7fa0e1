//! The embedded engine: a log for one process on ordered tables, on disk or in memory.
//!
//! It keeps every promise of [`EventLog`] on one machine: one writer assigns positions to records and syncs them
//! in batches, readers see only synced records, and groups are coordinated within the process. It uses only
//! tokio's time and the clock that it is given, so a simulation can run it from a seed.

mod assignment;
mod codec;
mod groups;
mod member;
mod reader;
mod recent;
mod times;
mod topics;
mod writer;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use environment::Clock;
use events::topics::TopicSpec;
use kv::{Batch, Database, Durability};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use groups::Groups;
use topics::{Catalog, Tables, Topic, broken};
use writer::{Append, Failure, Item, Writer};

use crate::intake::Intake;
use crate::{
    AppendError, AppendObserver, AppendOutcome, AppendReceipt, Commit, EventLog, GroupMember, LogError,
    METADATA_BYTES_MAX, NewRecord, PartitionReader, Position, RECORD_BYTES_MAX, TopicFound, TopicPartition, Watermarks,
    partition_of,
};

/// Bytes of records that wait for their sync. At the bound, appends wait, then fail with [`AppendError::Busy`].
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Creations and commits in the writer's queue, besides the records that the intake admits.
const QUEUE_OTHERS_MAX: usize = 1024;
/// How long closing waits until the queue is written.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// The embedded log.
#[derive(Debug)]
pub struct EmbeddedLog {
    core: Arc<Core>,
    /// Admits records to `queue`.
    intake: Intake,
    /// The queue to the writer.
    queue: mpsc::Sender<Item>,
    /// The clock for the append times of lossy records, which do not go through the writer.
    clock: Clock,
    /// Is told of appends that do not reach the writer; the writer tells it of the others.
    observer: AppendObserver,
    /// The writer's task; `None` once closed.
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The state that the log, its readers and its members share.
#[derive(Debug)]
struct Core {
    catalog: Arc<Catalog>,
    groups: Arc<Groups>,
    /// `None` once closed, so that the database can be reopened while readers still exist.
    tables: RwLock<Option<Tables>>,
    /// The failure of the writer, if it has failed.
    failure: Arc<Failure>,
    /// Ends the writer, the readers and the coordinator's tasks.
    closing: CancellationToken,
    /// The coordinator's tasks.
    tasks: TaskTracker,
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the group has members: its commits are theirs")]
    GroupHasMembers,
    #[error("the metadata of a commit is longer than {METADATA_BYTES_MAX} bytes")]
    MetadataTooLong,
}

impl EmbeddedLog {
    /// Opens the log in `database`; append times come from `clock`.
    ///
    /// # Errors
    /// When the tables cannot be read or written.
    pub async fn open(database: Database, clock: Clock) -> Result<Arc<Self>, LogError> {
        Self::open_observed(database, clock, AppendObserver::default()).await
    }

    /// As [`Self::open`]; the observer is told of every append.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_observed(
        database: Database,
        clock: Clock,
        observer: AppendObserver,
    ) -> Result<Arc<Self>, LogError> {
        let tables = Tables::open(database)?;
        settle(&tables).await?;
        let (catalog, tails) = topics::load(&tables)?;
        let (catalog, closing, tasks) = (Arc::new(catalog), CancellationToken::new(), TaskTracker::new());
        let failure = Arc::new(Failure::default());
        let writer = Writer::new(
            tables.clone(),
            Arc::clone(&catalog),
            tails,
            clock.clone(),
            observer.clone(),
            Arc::clone(&failure),
        );
        let (queue, items) = mpsc::channel(Intake::records_max(QUEUE_BYTES_MAX) + QUEUE_OTHERS_MAX);
        let writer = tokio::spawn(writer.run(items, closing.clone()));
        let groups = Groups::new(tasks.clone(), closing.clone());
        let core = Core { catalog, groups, tables: RwLock::new(Some(tables)), failure, closing, tasks };
        let intake = Intake::new(QUEUE_BYTES_MAX);
        let writer = Mutex::new(Some(writer));
        Ok(Arc::new(Self { core: Arc::new(core), intake, queue, clock, observer, writer }))
    }

    /// Appends a record to a lossy topic, in memory.
    fn keep(&self, topic: &Topic, partition: u32, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        if record.bytes() > RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let now_ms = self.clock.now_ms();
        let keep_from_ms = topic.row.retention_ms.map_or(i64::MIN, |time| now_ms.saturating_sub_unsigned(time));
        let found = topic.partition(partition).map_err(|_| AppendError::NoTopic(topic.name.clone()))?;
        let offset = found.recent.append((&found.low, &found.durable), record, (now_ms, keep_from_ms));
        let (report, receipt) = AppendReceipt::new();
        let _ = report.send(Ok(Position { partition, offset }));
        Ok(receipt)
    }

    /// Queues a record of a durable topic for the writer.
    async fn queue(
        &self,
        topic: Arc<Topic>,
        partition: u32,
        record: NewRecord,
        begun: Instant,
    ) -> Result<AppendReceipt, AppendError> {
        let permit = self.intake.admit(record.bytes()).await?;
        let (report, receipt) = AppendReceipt::new();
        let value = codec::encode_record(&record);
        let item = Item::Append(Append { topic, partition, record, value, report, permit, begun });
        self.queue.send(item).await.map_err(|_| AppendError::Closed)?;
        Ok(receipt)
    }

    async fn send(&self, item: Item) -> Result<(), LogError> {
        if self.core.closing.is_cancelled() {
            return Err(LogError::Closed);
        }
        self.queue.send(item).await.map_err(|_| LogError::Closed)
    }
}

/// Makes the writes durable that a killed process has written without a sync: readers are about to see them.
async fn settle(tables: &Tables) -> Result<(), LogError> {
    let mut batch = Batch::default();
    batch.remove(&tables.lows, vec![0]); // the key is unused: a synced write of any key syncs all earlier writes
    tables.database.commit(batch, Durability::Power).await.map_err(broken)
}

impl Core {
    fn tables(&self) -> Result<Tables, LogError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.clone().filter(|_| !self.closing.is_cancelled()).ok_or(LogError::Closed)
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        if self.closing.is_cancelled() {
            return Err(LogError::Closed);
        }
        self.catalog.find(name).ok_or_else(|| LogError::NoTopic(name.to_owned()))
    }

    fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        let value = self.tables()?.commits.get(&codec::commit_key(group, at)).map_err(broken)?;
        value.map(|value| codec::decode_commit(&value).map_err(broken)).transpose()
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        if self.core.closing.is_cancelled() {
            return Err(AppendError::Closed);
        }
        let topic = self.core.catalog.find(topic).ok_or_else(|| AppendError::NoTopic(topic.to_owned()))?;
        let partitions = u32::from(topic.row.partitions);
        let partition = record.partition.unwrap_or_else(|| partition_of(record.key.as_bytes(), partitions));
        if partition >= partitions {
            return Err(AppendError::NoTopic(topic.name.clone()));
        }
        if topic.row.lossy {
            return self.keep(&topic, partition, record);
        }
        let (name, begun) = (Arc::clone(&topic), Instant::now());
        let queued = self.queue(topic, partition, record, begun).await;
        if queued.is_err() {
            self.observer.ended(&name.name, begun, AppendOutcome::Failed);
        }
        queued
    }

    fn send_lossy(&self, topic: &str, record: NewRecord) -> bool {
        let topic = self.core.topic(topic).ok().filter(|topic| topic.row.lossy);
        topic.zip(record.partition).is_some_and(|(topic, partition)| self.keep(&topic, partition, record).is_ok())
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let topic = self.core.topic(topic)?;
        Ok(Box::new(reader::Reader::open(Arc::clone(&self.core), topic, partition, from)?))
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        Ok(self.core.topic(topic)?.partition(partition)?.watermarks())
    }

    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        let topic = self.core.topic(topic)?;
        let range = topic.partition(partition)?.watermarks();
        if topic.row.lossy {
            return Ok(topic.partition(partition)?.recent.offset_at(time_ms));
        }
        times::find(&self.core.tables()?, topic.key(partition), range, time_ms)
    }

    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        let with_partitions = |name: &&str| {
            let topic = self.core.topic(name)?;
            Ok((topic.name.clone(), u32::from(topic.row.partitions)))
        };
        let topics = topics.iter().map(with_partitions).collect::<Result<_, LogError>>()?;
        Ok(Box::new(member::Member::join(Arc::clone(&self.core), self.queue.downgrade(), group, topics)))
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        self.core.topic(&at.topic)?.partition(at.partition)?;
        self.core.committed(group, at)
    }

    async fn commit_offline(&self, group: &str, commits: &[(TopicPartition, Commit)]) -> Result<(), LogError> {
        for (at, commit) in commits {
            self.core.topic(&at.topic)?.partition(at.partition)?;
            if commit.metadata.len() > METADATA_BYTES_MAX {
                return Err(broken(Refused::MetadataTooLong));
            }
        }
        let partitions = commits.iter().map(|(at, _)| at.clone()).collect();
        let ticket = self.core.groups.begin_offline_commit(group, partitions);
        let ticket = ticket.ok_or_else(|| broken(Refused::GroupHasMembers))?;
        let rows = commits.iter().map(|(at, commit)| (codec::commit_key(group, at), codec::encode_commit(commit)));
        let (report, written) = oneshot::channel();
        self.send(Item::Commit { rows: rows.collect(), ticket, report }).await?;
        written.await.map_err(|_| LogError::Closed)?.map_err(broken)
    }

    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        match self.core.topic(&topic.name) {
            Ok(found) => Ok(Some(TopicFound::compare(topic, u32::from(found.row.partitions), found.row.retention()))),
            Err(LogError::NoTopic(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, topic: &TopicSpec) -> Result<(), LogError> {
        let (report, written) = oneshot::channel();
        self.send(Item::Create { spec: topic.clone(), report }).await?;
        written.await.map_err(|_| LogError::Closed)?
    }

    async fn close(&self) {
        self.intake.close();
        self.core.closing.cancel();
        self.core.tasks.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut writer) = writer
            && timeout(CLOSE_WAIT, &mut writer).await.is_err()
        {
            tracing::warn!("closing the embedded log took too long: what was not acknowledged may be lost");
            writer.abort();
        }
        self.core.tasks.wait().await;
        *self.core.tables.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for EmbeddedLog {
    /// Lets the writer finish the queue, without waiting for it.
    fn drop(&mut self) {
        self.core.closing.cancel();
    }
}
