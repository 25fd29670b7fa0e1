//! One partition of `chat.messages`: from `applied + 1` on, batch by batch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use consumer::{BATCH_RECORDS_MAX, ConsumerError, PartitionAccess};
use domain::{Fingerprint, Seq};
use environment::seeded_bugs::{Bug, seeded};
use eventlog::consume::Outcome;
use eventlog::{Assigned, Committer, DecodedRecord, Meaning, PartitionReader, Quarantine, Record, TopicPartition};
use process::{Age, PartitionLabel};
use store::{Applied, Conversations};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics::behind;
use crate::redrives::Redrives;
use crate::{Deps, StorageError, lag_commits};

/// How often the owner tries its holds again.
const HOLDS_EVERY: Duration = Duration::from_secs(60);

/// The work on a partition.
pub(crate) struct Partition {
    pub(crate) deps: Arc<Deps>,
    pub(crate) access: PartitionAccess,
    /// The seq of the last event that is applied; `None` before the first.
    pub(crate) applied: Option<Seq>,
    /// The last record that was applied, as proof of which log this is.
    pub(crate) last: Option<Applied>,
    pub(crate) cache: Conversations,
    /// Takes copies of corrupt records.
    pub(crate) quarantine: Quarantine,
    pub(crate) redrives: Redrives,
    /// Events that an operator has dropped.
    pub(crate) dropped: BTreeSet<Seq>,
    /// The next offset, for the commits that show the lag.
    next: watch::Sender<u64>,
    /// Since when an event waits, for the metrics.
    lag: Age,
}

pub(crate) async fn run(
    deps: Arc<Deps>,
    assigned: Assigned,
    committer: Arc<dyn Committer>,
    stop: CancellationToken,
) -> Outcome {
    let mut partition = Partition::new(deps, assigned.at, stop);
    StorageError::outcome(partition.consume(&*committer).await)
}

impl Partition {
    pub(crate) fn new(deps: Arc<Deps>, at: TopicPartition, stop: CancellationToken) -> Self {
        let lag = deps.metrics.lag.of(PartitionLabel { partition: at.partition });
        Self {
            lag,
            access: PartitionAccess::new(deps.seams.clone(), at, stop),
            deps,
            applied: None,
            last: None,
            cache: Conversations::new(),
            quarantine: Quarantine::default(),
            redrives: Redrives::default(),
            dropped: BTreeSet::new(),
            next: watch::Sender::new(0),
        }
    }

    async fn consume(&mut self, committer: &dyn Committer) -> Result<(), StorageError> {
        self.resume().await?;
        let (at, next) = (self.access.at.clone(), self.next.subscribe());
        let ended = tokio::select! {
            biased;
            ended = self.work() => ended,
            never = lag_commits::commit_regularly(&at, committer, next) => match never {},
        };
        if let Ok(()) | Err(StorageError::Consumer(ConsumerError::Stopped)) = ended {
            lag_commits::commit_last(&at, committer, self.next_offset()).await;
        }
        ended
    }

    async fn work(&mut self) -> Result<(), StorageError> {
        let mut reader = self.access.open(self.next_offset()).await?;
        let mut holds = tokio::time::interval(HOLDS_EVERY);
        holds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.access.stop.cancelled() => return Ok(()),
                // The first tick comes at once, so a new owner tries the holds.
                _ = holds.tick() => self.redrive_all(),
                records = reader.next(BATCH_RECORDS_MAX) => match records {
                    Ok(records) => self.store(&records).await?,
                    Err(error) if error.is_transient() => reader = self.reader_again(self.next_offset()).await?,
                    Err(error) => return Err(ConsumerError::Log(error).into()),
                },
                () = std::future::ready(()), if !self.redrives.is_empty() => {}
            }
            // One slice per turn, whether there are records to apply or not.
            self.redrive_on().await?;
        }
    }

    /// Applies a batch, and says meanwhile since when it waits.
    async fn store(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let Some(first) = records.first() else { return Ok(()) };
        self.lag.since(Some(first.append_time_ms));
        self.apply(records).await?;
        let metrics = &self.deps.metrics;
        metrics.append_to_stored.observe_between(first.append_time_ms, metrics.clock.now_ms());
        self.lag.since(behind(records));
        Ok(())
    }

    /// Reads how far the store has come, and checks that the log is the same as before.
    pub(crate) async fn resume(&mut self) -> Result<(), StorageError> {
        let source = self.access.source();
        let applied = self.access.store("read applied", |store| store.applied(source)).await?;
        self.last = applied;
        self.verify().await?;
        self.read_drops().await?;
        self.applied = applied.map(|applied| applied.seq);
        self.next.send_replace(self.next_offset());
        tracing::info!(partition = %self.access.at, next = self.next_offset(), "storage resumes");
        Ok(())
    }

    /// Reads which events are dropped. An event can only be dropped while it is held, so it is enough to read this at
    /// the start, and before each hold is tried again.
    pub(crate) async fn read_drops(&mut self) -> Result<(), StorageError> {
        self.dropped = self.access.drops().await?.into_iter().collect();
        Ok(())
    }

    /// Decodes a record.
    pub(crate) fn message(&self, record: &Record) -> Result<DecodedRecord, StorageError> {
        let mut message = self.access.message(record).map_err(ConsumerError::Seq)?;
        if self.dropped.contains(&message.appended.seq) {
            message.meaning = Meaning::Dropped;
        }
        Ok(message)
    }

    /// The offset and fingerprint of the last record that was applied.
    pub(crate) fn proof(&self) -> Option<(u64, Fingerprint)> {
        self.last.map(|last| (last.seq.offset(), last.fingerprint))
    }

    /// Fails when the log is not the one that was applied.
    pub(crate) async fn verify(&self) -> Result<(), ConsumerError> {
        self.access.verify(self.proof()).await
    }

    pub(crate) fn next_offset(&self) -> u64 {
        self.applied.map_or(0, |applied| applied.offset() + 1)
    }

    /// A reader for going on after an error, or for reading again.
    pub(crate) async fn reader_again(&self, from: u64) -> Result<Box<dyn PartitionReader>, ConsumerError> {
        self.access.reader(from, self.proof()).await
    }

    /// Applies a batch: rows, then holds, then `applied`. No part of it counts as applied before all of it is.
    pub(crate) async fn apply(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let Some(last) = records.last() else { return Ok(()) };
        let seq = self.access.seq(last.offset).map_err(ConsumerError::Seq)?;
        let applied = Applied { seq, fingerprint: last.fingerprint() };
        if seeded(Bug::AppliedTooEarly) {
            self.set_applied(applied).await?;
        }
        self.judge_and_write(records, applied).await?;
        self.applied = Some(self.applied.map_or(seq, |before| before.max(seq)));
        self.next.send_replace(self.next_offset());
        self.last = Some(applied);
        self.cache.shrink();
        self.deps.metrics.batches.inc();
        Ok(())
    }

    pub(crate) async fn set_applied(&self, applied: Applied) -> Result<(), StorageError> {
        let source = self.access.source();
        Ok(self.access.store("write applied", |store| store.set_applied(source, applied)).await?)
    }
}
