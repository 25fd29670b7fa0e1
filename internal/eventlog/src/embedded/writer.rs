//! The writer: one task that assigns positions to records and makes them durable.
//!
//! It takes the items that were queued during the last sync, writes them as one batch with one sync, and only then
//! publishes them to readers and answers the callers. Created topics and commits of groups are part of the same
//! batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use environment::Clock;
use events::topics::TopicSpec;
use kv::{Batch, Durability};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::codec::{self, PartitionKey};
use super::groups::WriteTicket;
use super::times::{self, Tail};
use super::topics::{self, Catalog, Tables, Topic, TopicRow, broken};
use crate::intake::Permit;
use crate::{AppendError, AppendObserver, AppendOutcome, CommitError, LogError, NewRecord, Position, Record};

/// The most items in one batch; further ones go into the next batch.
const BATCH_ITEMS_MAX: usize = 8192;
/// The interval at which partitions with a retention are trimmed.
const TRIM_EVERY: Duration = Duration::from_secs(30);
/// Records trimmed from a partition in one batch: a long backlog is trimmed between appends, not before them.
const TRIM_RECORDS_MAX: usize = 256;

/// The sender of an append's result.
type AppendReport = oneshot::Sender<Result<Position, AppendError>>;

/// An item of the writer's queue.
#[derive(Debug)]
pub(super) enum Item {
    Append(Append),
    Create { spec: TopicSpec, report: oneshot::Sender<Result<(), LogError>> },
    Commit { rows: Vec<(Bytes, Bytes)>, ticket: WriteTicket, report: oneshot::Sender<Result<(), CommitError>> },
}

/// A record to append.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) topic: Arc<Topic>,
    pub(super) partition: u32,
    pub(super) record: NewRecord,
    /// The record as the tables have it, without its append time.
    pub(super) value: BytesMut,
    pub(super) report: AppendReport,
    pub(super) permit: Permit,
    /// When the caller handed it over.
    pub(super) begun: Instant,
}

/// The writer's state; it lives in its task.
#[derive(Debug)]
pub(super) struct Writer {
    tables: Tables,
    catalog: Arc<Catalog>,
    /// The ends of the partitions, by topic id and partition.
    tails: Vec<Vec<Tail>>,
    clock: Clock,
    /// Whether any topic has a retention.
    trims: bool,
    /// Is told of every append.
    observer: AppendObserver,
    /// Set when a write fails. The tails are ahead of the tables then, so the writer accepts nothing more.
    failure: Arc<Failure>,
}

/// Whether the writer has failed for good, and why. Tasks that wait for records or commits end by it.
#[derive(Debug, Default)]
pub(super) struct Failure {
    reason: OnceLock<String>,
    failed: CancellationToken,
}

/// What to publish and answer once a batch is durable.
#[derive(Default)]
struct Outcome {
    appended: Vec<Appended>,
    /// The appended records, by partition.
    records: BTreeMap<PartitionKey, (Arc<Topic>, Vec<Record>)>,
    created: Vec<Arc<Topic>>,
    answers: Vec<oneshot::Sender<Result<(), LogError>>>,
    committed: Vec<(oneshot::Sender<Result<(), CommitError>>, WriteTicket)>,
}

/// A record of the batch, and the caller that waits for it.
struct Appended {
    report: AppendReport,
    position: Position,
    append_time_ms: i64,
    topic: Arc<Topic>,
    begun: Instant,
    _permit: Permit,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("an earlier write failed: {0}")]
pub(super) struct Failed(String);

impl Failure {
    fn set(&self, reason: String) {
        let _ = self.reason.set(reason); // the first one counts
        self.failed.cancel();
    }

    /// The error, if the writer has failed.
    pub(super) fn get(&self) -> Option<Failed> {
        self.reason.get().cloned().map(Failed)
    }

    /// Waits until the writer fails.
    pub(super) async fn wait(&self) {
        self.failed.cancelled().await;
    }
}

impl Writer {
    pub(super) fn new(
        tables: Tables,
        catalog: Arc<Catalog>,
        tails: Vec<Vec<Tail>>,
        clock: Clock,
        observer: AppendObserver,
        failure: Arc<Failure>,
    ) -> Self {
        let trims = catalog.all().iter().any(|topic| topic.row.retention_ms.is_some() && !topic.row.lossy);
        Self { tables, catalog, tails, clock, trims, observer, failure }
    }

    /// Writes the queue until `closing` is cancelled, then the rest of the queue.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Item>, closing: CancellationToken) {
        let mut items = Vec::new();
        let mut trim_at = Instant::now() + TRIM_EVERY;
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                taken = queue.recv_many(&mut items, BATCH_ITEMS_MAX) => {
                    if taken == 0 {
                        break;
                    }
                    self.write(items.drain(..)).await;
                }
                () = sleep_until(trim_at), if self.trims => {}
            }
            if Instant::now() >= trim_at && self.trims {
                let more = self.trim().await;
                trim_at = if more { Instant::now() } else { Instant::now() + TRIM_EVERY };
            }
        }
        queue.close();
        while queue.recv_many(&mut items, BATCH_ITEMS_MAX).await > 0 {
            self.write(items.drain(..)).await;
        }
    }

    async fn write(&mut self, items: impl Iterator<Item = Item>) {
        let now_ms = self.clock.now_ms();
        let (mut batch, mut outcome) = (Batch::default(), Outcome::default());
        for item in items {
            match item {
                Item::Append(append) => self.append(append, now_ms, &mut outcome, &mut batch),
                Item::Create { spec, report } => match self.create(&spec, &mut outcome.created, &mut batch) {
                    Ok(()) => outcome.answers.push(report),
                    Err(error) => drop(report.send(Err(error))),
                },
                Item::Commit { rows, ticket, report } => {
                    for (key, value) in rows {
                        batch.put(&self.tables.commits, key, value);
                    }
                    outcome.committed.push((report, ticket));
                }
            }
        }
        match self.commit(batch, Durability::Power).await {
            Ok(()) => outcome.publish(&self.catalog, &self.observer),
            Err(error) => outcome.fail(&error, &self.observer),
        }
    }

    fn append(&mut self, append: Append, now_ms: i64, outcome: &mut Outcome, batch: &mut Batch) {
        let Append { topic, partition, record, mut value, report, permit: _permit, begun } = append;
        let key = topic.key(partition);
        let tail = &mut self.tails[usize::from(key.topic)][usize::from(key.partition)];
        let offset = tail.take(key, now_ms, &self.tables, batch);
        codec::stamp(&mut value, now_ms);
        batch.put(&self.tables.records, Bytes::copy_from_slice(&key.record(offset)), value.freeze());
        outcome.records.entry(key).or_insert((Arc::clone(&topic), Vec::new())).1.push(record.at(offset, now_ms));
        let position = Position { partition, offset };
        outcome.appended.push(Appended { report, position, append_time_ms: now_ms, topic, begun, _permit });
    }

    async fn commit(&self, batch: Batch, durability: Durability) -> Result<(), Failed> {
        if let Some(failed) = self.failure.get() {
            return Err(failed);
        }
        if let Err(error) = self.tables.database.commit(batch, durability).await {
            tracing::error!(%error, "the embedded log could not be written and takes nothing more");
            self.failure.set(error.to_string());
            return Err(Failed(error.to_string()));
        }
        Ok(())
    }

    fn create(&mut self, spec: &TopicSpec, created: &mut Vec<Arc<Topic>>, batch: &mut Batch) -> Result<(), LogError> {
        if self.catalog.find(&spec.name).is_some() || created.iter().any(|topic| topic.name == spec.name) {
            return Ok(());
        }
        let id = u16::try_from(self.tails.len()).map_err(broken)?;
        let row = TopicRow::new(id, spec)?;
        self.trims |= row.retention_ms.is_some() && !row.lossy;
        batch.put(&self.tables.topics, spec.name.clone(), serde_json::to_vec(&row).map_err(broken)?);
        self.tails.push(vec![Tail::EMPTY; usize::from(row.partitions)]);
        created.push(Arc::new(Topic::empty(spec.name.clone(), row)));
        Ok(())
    }

    /// Trims a bounded number of records from each partition; returns whether there may be more.
    async fn trim(&mut self) -> bool {
        let now_ms = self.clock.now_ms();
        let (mut batch, mut lows, mut more) = (Batch::default(), Vec::new(), false);
        for topic in self.catalog.all() {
            let Some(retention_ms) = topic.row.retention_ms.filter(|_| !topic.row.lossy) else { continue };
            let keep_from_ms = now_ms.saturating_sub_unsigned(retention_ms);
            for partition in 0..u32::from(topic.row.partitions) {
                match self.trim_partition(&topic, partition, keep_from_ms, &mut batch) {
                    Ok(None) => {}
                    Ok(Some((low, trimmed))) => {
                        more |= trimmed == TRIM_RECORDS_MAX;
                        lows.push((Arc::clone(&topic), partition, low));
                    }
                    Err(error) => tracing::error!(%error, topic = topic.name, partition, "could not trim"),
                }
            }
        }
        if batch.is_empty() {
            return false;
        }
        // Advance `low` before the records are removed: a reader that misses a record must see that it was
        // trimmed.
        for (topic, partition, low) in lows {
            topic.partitions[partition as usize].low.store(low, Ordering::Release);
        }
        // A power cut may undo a trim, which is then repeated.
        self.commit(batch, Durability::Process).await.is_ok() && more
    }

    /// The new low watermark and the number of records to trim; `None` when there are none. The newest record
    /// always stays: a cursor names the record before it, and an empty partition would have none.
    fn trim_partition(
        &self,
        topic: &Topic,
        partition: u32,
        keep_from_ms: i64,
        batch: &mut Batch,
    ) -> Result<Option<(u64, usize)>, LogError> {
        let (key, range) = (topic.key(partition), topic.partition(partition)?.watermarks());
        let (mut low, mut trimmed) = (range.low, 0);
        for (offset, value) in topics::scan(&self.tables, key, low, range.next.saturating_sub(1), TRIM_RECORDS_MAX)? {
            if codec::time_of(&value).map_err(broken)? >= keep_from_ms {
                break;
            }
            batch.remove(&self.tables.records, Bytes::copy_from_slice(&key.record(offset)));
            (low, trimmed) = (offset + 1, trimmed + 1);
        }
        if trimmed == 0 {
            return Ok(None);
        }
        times::trim_marks(&self.tables, key, low, TRIM_RECORDS_MAX, batch)?;
        batch.put(&self.tables.lows, Bytes::copy_from_slice(&key.bytes()), low.to_be_bytes().to_vec());
        Ok(Some((low, trimmed)))
    }
}

impl Outcome {
    /// Publishes the durable records to readers, then answers the callers: a receipt never runs ahead of the
    /// watermarks.
    fn publish(self, catalog: &Catalog, observer: &AppendObserver) {
        for topic in self.created {
            catalog.add(topic);
        }
        for (key, (topic, records)) in self.records {
            let Some(next) = records.last().map(|record| record.offset + 1) else { continue };
            let partition = &topic.partitions[usize::from(key.partition)];
            partition.recent.copy(records);
            partition.durable.set(next);
        }
        // A caller that has stopped waiting does not need the answer.
        for Appended { report, position, append_time_ms, topic, begun, _permit } in self.appended {
            let outcome = AppendOutcome::Acknowledged { append_time_ms: Some(append_time_ms) };
            observer.ended(&topic.name, begun, outcome);
            let _ = report.send(Ok(position));
        }
        for report in self.answers {
            let _ = report.send(Ok(()));
        }
        for (report, ticket) in self.committed {
            drop(ticket);
            let _ = report.send(Ok(()));
        }
    }

    fn fail(self, error: &Failed, observer: &AppendObserver) {
        for Appended { report, topic, begun, .. } in self.appended {
            observer.ended(&topic.name, begun, AppendOutcome::Failed);
            let _ = report.send(Err(AppendError::Fatal(Box::new(error.clone()))));
        }
        for report in self.answers {
            let _ = report.send(Err(broken(error.clone())));
        }
        for (report, ticket) in self.committed {
            drop(ticket);
            let _ = report.send(Err(CommitError::Broken(Box::new(error.clone()))));
        }
    }
}
