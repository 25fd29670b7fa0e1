//! One partition of `chat.messages`: from `applied + 1` on, batch by batch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use consumer::{BATCH_RECORDS_MAX, ConsumerError, Lane};
use domain::{Fingerprint, Seq};
use environment::seeded_bugs::{Bug, seeded};
use eventlog::consume::{Ended, Outcome};
use eventlog::{Assigned, Committer, Meaning, Message, PartitionReader, Quarantine, Record, TopicPartition};
use store::{Applied, Conversations};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::redrives::Redrives;
use crate::{Deps, StorageError, lag};

/// How often the owner looks at its holds.
const HOLDS_EVERY: Duration = Duration::from_secs(60);

/// A partition's work.
pub(crate) struct Partition {
    pub(crate) deps: Arc<Deps>,
    pub(crate) lane: Lane,
    /// The last place that is applied; `None` before the first.
    pub(crate) applied: Option<Seq>,
    /// The last record that was applied: proof of which log this is.
    pub(crate) last: Option<Applied>,
    pub(crate) cache: Conversations,
    /// Copies its corrupt records.
    pub(crate) quarantine: Quarantine,
    pub(crate) redrives: Redrives,
    /// Events that an operator has dropped.
    pub(crate) dropped: BTreeSet<Seq>,
    /// The next offset, for those who watch the lag.
    next: watch::Sender<u64>,
}

pub(crate) async fn run(
    deps: Arc<Deps>,
    assigned: Assigned,
    committer: Arc<dyn Committer>,
    stop: CancellationToken,
) -> Outcome {
    let mut partition = Partition::new(deps, assigned.at, stop);
    match partition.consume(&*committer).await {
        Ok(()) | Err(StorageError::Consumer(ConsumerError::Stopped)) => Ok(Ended::Stopped),
        Err(error) => Err(error.into()),
    }
}

impl Partition {
    pub(crate) fn new(deps: Arc<Deps>, at: TopicPartition, stop: CancellationToken) -> Self {
        Self {
            lane: Lane::new(deps.seams.clone(), at, stop),
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
        let (at, next) = (self.lane.at.clone(), self.next.subscribe());
        let ended = tokio::select! {
            biased;
            ended = self.work() => ended,
            never = lag::tell(&at, committer, next) => match never {},
        };
        if let Ok(()) | Err(StorageError::Consumer(ConsumerError::Stopped)) = ended {
            lag::tell_last(&at, committer, self.next_offset()).await;
        }
        ended
    }

    async fn work(&mut self) -> Result<(), StorageError> {
        let mut reader = self.lane.open(self.next_offset()).await?;
        let mut holds = tokio::time::interval(HOLDS_EVERY);
        holds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.lane.stop.cancelled() => return Ok(()),
                // The first tick comes at once: the take-over's look at the holds.
                _ = holds.tick() => self.redrive_all(),
                records = reader.next(BATCH_RECORDS_MAX) => match records {
                    Ok(records) => self.apply(&records).await?,
                    Err(error) if error.is_transient() => reader = self.reader_again(self.next_offset()).await?,
                    Err(error) => return Err(ConsumerError::Log(error).into()),
                },
                () = std::future::ready(()), if !self.redrives.is_empty() => {}
            }
            // A slice at each turn, whether there are records to apply or not.
            self.redrive_on().await?;
        }
    }

    /// Finds where the store stands, and that the log is the one it was.
    pub(crate) async fn resume(&mut self) -> Result<(), StorageError> {
        let source = self.lane.source();
        let applied = self.lane.store("read applied", |store| store.applied(source)).await?;
        self.last = applied;
        self.verify().await?;
        self.read_drops().await?;
        self.applied = applied.map(|applied| applied.seq);
        self.next.send_replace(self.next_offset());
        tracing::info!(partition = %self.lane.at, next = self.next_offset(), "storage resumes");
        Ok(())
    }

    /// Learns which events are dropped. An event is dropped only while it is held: so it is enough to read this before
    /// anything else, and before each look at a hold.
    pub(crate) async fn read_drops(&mut self) -> Result<(), StorageError> {
        self.dropped = self.lane.drops().await?.into_iter().collect();
        Ok(())
    }

    /// The record as this program reads it.
    pub(crate) fn message(&self, record: &Record) -> Result<Message, StorageError> {
        let mut message = self.lane.message(record).map_err(ConsumerError::Seq)?;
        if self.dropped.contains(&message.placed.seq) {
            message.meaning = Meaning::Dropped;
        }
        Ok(message)
    }

    /// The last record that was applied.
    pub(crate) fn proof(&self) -> Option<(u64, Fingerprint)> {
        self.last.map(|last| (last.seq.offset(), last.fingerprint))
    }

    /// Fails when the log is not the one that it was.
    pub(crate) async fn verify(&self) -> Result<(), ConsumerError> {
        self.lane.verify(self.proof()).await
    }

    pub(crate) fn next_offset(&self) -> u64 {
        self.applied.map_or(0, |applied| applied.offset() + 1)
    }

    /// A reader for going on after an error, or for reading again.
    pub(crate) async fn reader_again(&self, from: u64) -> Result<Box<dyn PartitionReader>, ConsumerError> {
        self.lane.reader(from, self.proof()).await
    }

    /// Applies a batch: rows, then holds, then `applied`. Nothing of it is visible as applied before all of it is.
    pub(crate) async fn apply(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let Some(last) = records.last() else { return Ok(()) };
        let seq = self.lane.seq(last.offset).map_err(ConsumerError::Seq)?;
        let (source, applied) = (self.lane.source(), Applied { seq, fingerprint: last.fingerprint() });
        if seeded(Bug::AppliedTooEarly) {
            self.lane.store("write applied", |store| store.set_applied(source, applied)).await?;
        }
        self.judge_and_write(records).await?;
        self.lane.store("write applied", |store| store.set_applied(source, applied)).await?;
        self.applied = Some(self.applied.map_or(seq, |before| before.max(seq)));
        self.next.send_replace(self.next_offset());
        self.last = Some(applied);
        self.cache.shrink();
        self.deps.metrics.batches.inc();
        Ok(())
    }
}
