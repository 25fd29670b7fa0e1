//! One partition of `chat.messages`: taking events in, in order, and committing behind what is acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use domain::{ConversationId, Fingerprint, Seq};
use eventlog::consume::{Ended, Outcome};
use eventlog::{Assigned, Committer, Message, NewRecord, PartitionReader, TopicPartition};
use events::topics::{DELIVERIES, MESSAGES, spec_of};
use host::teeth::{Bug, bites};
use runtime::insist;
use store::{Conversations, Hold, SharedStore, Slot, Source, Store, StoreError};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;

use crate::emit::Verdict;
use crate::error::{transient_commit, transient_log, transient_store};
use crate::open::Opened;
use crate::outbox::Outbox;
use crate::parked::ParkedSet;
use crate::position::Position;
use crate::{Deps, FanoutError, place};

/// Records that are taken from the log at once.
pub(crate) const BATCH_RECORDS_MAX: usize = 500;
/// How often the position is committed while something changes.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How often the owner looks at its holds.
const HOLDS_EVERY: Duration = Duration::from_secs(60);
/// How long one wait for `applied` lasts before it is asked anew.
const APPLIED_WAIT: Duration = Duration::from_secs(5);

/// A partition's work.
pub(crate) struct Partition {
    pub(crate) deps: Arc<Deps>,
    pub(crate) at: TopicPartition,
    pub(crate) source: Source,
    pub(crate) generation: u8,
    /// Of `chat.messages`.
    partitions: u32,
    /// Of `chat.deliveries`.
    pub(crate) delivery_partitions: u32,
    /// The next offset to take in.
    pub(crate) intake: u64,
    /// The record before the intake.
    fingerprint: Option<Fingerprint>,
    /// Taken from the log, not taken in yet.
    backlog: VecDeque<Message>,
    pub(crate) cache: Conversations,
    pub(crate) parked: ParkedSet,
    pub(crate) outbox: Outbox,
    /// What is still to be written of holds: events skipped since the last commit.
    pub(crate) skips: BTreeMap<ConversationId, Hold>,
    /// What was committed last.
    committed: Position,
    pub(crate) stop: CancellationToken,
}

/// Whether an event could be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    In,
    /// It would have to be parked, and there is no room: the intake pauses.
    Full,
}

pub(crate) async fn run(
    deps: Arc<Deps>,
    assigned: Assigned,
    committer: Arc<dyn Committer>,
    stop: CancellationToken,
) -> Outcome {
    let mut partition = Partition::new(deps, assigned.at.clone(), stop);
    let outcome = match partition.resume(assigned).await {
        Ok(()) => partition.consume(&*committer).await,
        Err(error) => Err(error),
    };
    partition.deps.metrics.parked.dec_by(i64::try_from(partition.parked.len()).unwrap_or(0));
    match outcome {
        Ok(()) | Err(FanoutError::Stopped) => Ok(Ended::Stopped),
        // A revocation follows; if it does not, the partition is still ours and must not stand still.
        Err(FanoutError::Fenced) => Ok(Ended::Again),
        Err(FanoutError::Again(error)) => {
            tracing::warn!(partition = %partition.at, %error, "deliveries not acknowledged");
            Ok(Ended::Again)
        }
        Err(error) => Err(error.into()),
    }
}

type AppliedWait = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Partition {
    fn new(deps: Arc<Deps>, at: TopicPartition, stop: CancellationToken) -> Self {
        let spec = spec_of(MESSAGES);
        Self {
            deps,
            source: Source { topic: MESSAGES, partition: at.partition },
            at,
            generation: spec.generation,
            partitions: spec.partitions,
            delivery_partitions: spec_of(DELIVERIES).partitions,
            intake: 0,
            fingerprint: None,
            backlog: VecDeque::new(),
            cache: Conversations::new(),
            parked: ParkedSet::default(),
            outbox: Outbox::default(),
            skips: BTreeMap::new(),
            committed: Position::default(),
            stop,
        }
    }

    /// Goes on from the group's commit, once it is clear that the log is the one it was.
    async fn resume(&mut self, assigned: Assigned) -> Result<(), FanoutError> {
        let commit = assigned.commit.ok_or_else(|| FanoutError::NoPosition(self.at.clone()))?;
        let position =
            Position::from_commit(&commit).map_err(|reason| FanoutError::Metadata(self.at.clone(), reason))?;
        (self.intake, self.fingerprint) = (position.next, position.fingerprint);
        self.verify().await?;
        for (conversation, offset) in &position.parked {
            self.parked.park_from(*conversation, Seq::new(self.generation, *offset)?, false);
        }
        tracing::info!(partition = %self.at, next = self.intake, parked = self.parked.len(), "fan-out resumes");
        self.committed = position;
        Ok(())
    }

    async fn consume(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        let mut reader = self.reader(self.intake).await?;
        let mut commits = interval_at(Instant::now() + COMMIT_EVERY, COMMIT_EVERY);
        let mut housekeeping = interval(HOLDS_EVERY);
        let mut ticks = interval(self.tick_every());
        for timer in [&mut commits, &mut housekeeping, &mut ticks] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut waiting: Option<AppliedWait> = None;
        loop {
            self.take_in_backlog().await?;
            if waiting.is_none() {
                waiting = self.applied_wait();
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                _ = commits.tick() => self.commit(committer).await?,
                // The first tick comes at once: the take-over's look at the holds.
                _ = housekeeping.tick() => { self.redrive_all().await?; waiting = None; }
                _ = ticks.tick() => self.tick().await?,
                () = some(&mut waiting) => { waiting = None; self.unpark_ready().await?; }
                acknowledged = self.outbox.oldest() => acknowledged?,
                records = reader.next(BATCH_RECORDS_MAX), if self.backlog.is_empty() => match records {
                    Ok(records) => for record in &records {
                        let (generation, partition) = (self.generation, self.at.partition);
                        let codec = &self.deps.codec;
                        self.backlog.push_back(Message::read(codec, generation, partition, self.partitions, record)?);
                    },
                    Err(error) if transient_log(&error) => reader = self.reader_again(self.intake).await?,
                    Err(error) => return Err(error.into()),
                },
            }
        }
        self.commit_at_end(committer).await
    }

    pub(crate) async fn reader(&self, from: u64) -> Result<Box<dyn PartitionReader>, FanoutError> {
        let Deps { log, entropy, .. } = &*self.deps;
        let open = || log.reader(MESSAGES, self.at.partition, from);
        Ok(insist("read the log", entropy, &self.stop, transient_log, open).await?)
    }

    /// A reader for going on after an error, or for reading again.
    pub(crate) async fn reader_again(&self, from: u64) -> Result<Box<dyn PartitionReader>, FanoutError> {
        self.verify().await?;
        self.reader(from).await
    }

    /// Fails when the log is not the one that it was. What was taken in last vouches for everything before it.
    async fn verify(&self) -> Result<(), FanoutError> {
        place::verify(&self.deps, &self.at, self.intake, self.fingerprint, &self.stop).await
    }

    /// Takes in what was read, in order, until it is done or one more would have to be parked than can be.
    async fn take_in_backlog(&mut self) -> Result<(), FanoutError> {
        if self.backlog.is_empty() {
            return Ok(());
        }
        let mut backlog = std::mem::take(&mut self.backlog);
        let mut opened = self.open_cold(backlog.make_contiguous()).await?;
        while let Some(message) = backlog.front() {
            match self.take_in(message, &mut opened).await? {
                Taken::In => drop(backlog.pop_front()),
                Taken::Full => break,
            }
        }
        self.backlog = backlog;
        self.cache.shrink();
        self.deps.metrics.parked.set(i64::try_from(self.parked.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    async fn take_in(
        &mut self,
        message: &Message,
        opened: &mut BTreeMap<ConversationId, Opened>,
    ) -> Result<Taken, FanoutError> {
        let seq = message.placed.seq;
        if let Some(conversation) = message.conversation {
            let taken = if self.parked.contains(conversation) {
                self.parked.follow(conversation, message.clone());
                Taken::In
            } else {
                let found = opened.remove(&conversation);
                self.take_in_of(conversation, message, found).await?
            };
            if taken == Taken::Full {
                return Ok(Taken::Full);
            }
        }
        self.intake = seq.offset() + 1;
        self.fingerprint = Some(message.fingerprint);
        Ok(Taken::In)
    }

    /// Takes in an event of a conversation that is not parked.
    async fn take_in_of(
        &mut self,
        conversation: ConversationId,
        message: &Message,
        found: Option<Opened>,
    ) -> Result<Taken, FanoutError> {
        let seq = message.placed.seq;
        let mut loaded = match self.cache.take(conversation) {
            Some(Slot::Ready(loaded)) => loaded,
            Some(Slot::Held) => {
                self.deps.metrics.skipped.inc();
                self.skips.entry(conversation).or_default().skipped_to = Some(seq);
                self.cache.put(conversation, Slot::Held);
                return Ok(Taken::In);
            }
            None => {
                let opened = match found {
                    Some(opened) => opened,
                    None => self.open(conversation, message).await?,
                };
                match opened {
                    Opened::Ready(loaded) => loaded,
                    Opened::NotYet => return Ok(self.park(conversation, message)),
                    Opened::Redrive(first) if self.parked.has_room() => {
                        self.parked.park_from(conversation, first, true);
                        return Ok(Taken::In);
                    }
                    Opened::Redrive(_) => return Ok(Taken::Full),
                    Opened::Unjudged | Opened::Held => {
                        self.hold(conversation, seq).await?;
                        return Ok(Taken::In);
                    }
                }
            }
        };
        let verdict = self.judge(conversation, &mut loaded, message).await?;
        if verdict == Verdict::Hold {
            self.hold(conversation, seq).await?;
            return Ok(Taken::In);
        }
        self.cache.put(conversation, Slot::Ready(loaded));
        Ok(if verdict == Verdict::NotYet { self.park(conversation, message) } else { Taken::In })
    }

    fn park(&mut self, conversation: ConversationId, message: &Message) -> Taken {
        if !self.parked.has_room() {
            return Taken::Full;
        }
        self.deps.metrics.parks.inc();
        self.parked.park(conversation, message.clone());
        Taken::In
    }

    /// Completes when storage has come far enough for the first parked conversation, or when it is time to ask again.
    fn applied_wait(&self) -> Option<AppliedWait> {
        let first = self.parked.firsts().into_iter().map(|(_, first)| first).min()?;
        let (store, source): (SharedStore, Source) = (Arc::clone(&self.deps.store), self.source);
        let as_of = first.before().unwrap_or_default();
        Some(Box::pin(async move {
            // An error shows again, and is sorted, in the reads that follow.
            if store.wait_applied(source, as_of, APPLIED_WAIT).await.is_err() {
                tokio::time::sleep(COMMIT_EVERY).await;
            }
        }))
    }

    /// Waits for acknowledged deliveries, then commits the position if it has changed.
    pub(crate) async fn commit(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        let parked = self.parked.firsts().into_iter().map(|(conversation, first)| (conversation, first.offset()));
        let mut position = Position { next: self.intake, fingerprint: self.fingerprint, parked: parked.collect() };
        if bites(Bug::ParkedForgotten) {
            position.parked.clear();
        }
        if position == self.committed {
            return Ok(());
        }
        self.outbox.settle().await?;
        if !bites(Bug::HoldAfterCommit) {
            self.write_skips().await?;
        }
        let commits = [(self.at.clone(), position.to_commit())];
        let commit = || committer.commit(&commits);
        insist("commit", &self.deps.entropy, &self.stop, transient_commit, commit).await?;
        self.deps.metrics.commits.inc();
        self.committed = position;
        if bites(Bug::HoldAfterCommit) {
            self.write_skips().await?;
        }
        Ok(())
    }

    /// The last commit: tried once, since the process is stopping. What it misses is delivered again, and dropped by
    /// the clients' filter.
    async fn commit_at_end(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        self.stop = CancellationToken::new();
        match tokio::time::timeout(Duration::from_secs(5), self.commit(committer)).await {
            Ok(committed) => committed,
            Err(_) => {
                tracing::warn!(partition = %self.at, "position not committed in time: deliveries will be repeated");
                Ok(())
            }
        }
    }

    /// An eighth of the deliveries' retention: a quiet partition is never trimmed empty.
    fn tick_every(&self) -> Duration {
        spec_of(DELIVERIES).retention.map_or(Duration::from_secs(86_400), |retention| retention / 8)
    }

    /// Writes a tick to this partition's share of the delivery partitions.
    async fn tick(&mut self) -> Result<(), FanoutError> {
        for partition in (self.at.partition..self.delivery_partitions).step_by(self.partitions as usize) {
            let encoded = self.deps.codec.tick();
            let (headers, payload) = (encoded.headers, encoded.payload);
            let record = NewRecord { key: "tick".into(), partition: Some(partition), headers, payload };
            let (log, entropy) = (self.deps.log.clone(), self.deps.entropy.clone());
            self.outbox.send(&*log, DELIVERIES, record, &entropy, &self.stop).await?;
        }
        Ok(())
    }

    /// Calls the store until it answers; gives up only on what a retry cannot mend.
    pub(crate) async fn store<'s, T, F, R>(&'s self, what: &'static str, call: F) -> Result<T, FanoutError>
    where
        F: Fn(&'s dyn Store) -> R,
        R: Future<Output = Result<T, StoreError>> + 's,
    {
        let Deps { store, entropy, .. } = &*self.deps;
        Ok(insist(what, entropy, &self.stop, transient_store, || call(&**store)).await?)
    }

    pub(crate) fn read_message(&self, record: &eventlog::Record) -> Result<Message, FanoutError> {
        Ok(Message::read(&self.deps.codec, self.generation, self.at.partition, self.partitions, record)?)
    }
}

/// The future if there is one, else never.
async fn some(waiting: &mut Option<AppliedWait>) {
    match waiting {
        Some(wait) => wait.await,
        None => std::future::pending().await,
    }
}
