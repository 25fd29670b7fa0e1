//! One partition of `chat.messages`: taking events in, in order, and committing behind what is acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::{ConversationId, Fingerprint, Seq};
use eventlog::consume::{Ended, Outcome};
use eventlog::{Assigned, Committer, Message, NewRecord, PartitionReader, TopicPartition};
use events::topics::{DELIVERIES, MESSAGES, spec_of};
use futures_util::stream::StreamExt;
use host::teeth::{Bug, bites};
use runtime::insist;
use store::{Conversations, Hold, Slot};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;

use crate::emit::Verdict;
use crate::error::{transient_commit, transient_log};
use crate::hold::Pass;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::parked::ParkedSet;
use crate::position::Position;
use crate::reach::{Brought, Errand, Errands, Reach};
use crate::{Deps, FanoutError, place};

/// Records that are taken from the log at once.
pub(crate) const BATCH_RECORDS_MAX: usize = 500;
/// How often the position is committed while something changes.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How often the owner looks at its holds.
const HOLDS_EVERY: Duration = Duration::from_secs(60);

/// A partition's work.
pub(crate) struct Partition {
    pub(crate) deps: Arc<Deps>,
    pub(crate) at: TopicPartition,
    pub(crate) generation: u8,
    /// Of `chat.messages`.
    partitions: u32,
    /// Of `chat.deliveries`.
    pub(crate) delivery_partitions: u32,
    /// The next offset to take in.
    pub(crate) intake: u64,
    /// The record before the intake.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Taken from the log, not taken in yet.
    backlog: VecDeque<Message>,
    /// The first of the backlog would have to be parked, and there was no room.
    paused: bool,
    /// The log had more than was read at once.
    behind: bool,
    pace: Pace,
    pub(crate) cache: Conversations,
    pub(crate) parked: ParkedSet,
    /// How many of them the metric counts.
    counted: i64,
    pub(crate) outbox: Outbox,
    /// What is still to be written of holds: events skipped since the last commit.
    pub(crate) skips: BTreeMap<ConversationId, Hold>,
    /// The position to commit once what was skipped before it is written, with that.
    committing: Option<(Position, BTreeMap<ConversationId, Hold>)>,
    /// What was committed last.
    committed: Position,
    /// The look at the holds.
    pub(crate) pass: Pass,
    /// Errands to send.
    pub(crate) wanted: Vec<Errand>,
    reach: Reach,
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
    partition.deps.metrics.parked.dec_by(partition.counted);
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

impl Partition {
    fn new(deps: Arc<Deps>, at: TopicPartition, stop: CancellationToken) -> Self {
        let spec = spec_of(MESSAGES);
        let reach = Reach::new(Arc::clone(&deps), at.partition, spec.generation, spec.partitions, stop.clone());
        Self {
            deps,
            at,
            generation: spec.generation,
            partitions: spec.partitions,
            delivery_partitions: spec_of(DELIVERIES).partitions,
            intake: 0,
            fingerprint: None,
            backlog: VecDeque::new(),
            paused: false,
            behind: false,
            pace: Pace::default(),
            cache: Conversations::new(),
            parked: ParkedSet::default(),
            counted: 0,
            outbox: Outbox::default(),
            skips: BTreeMap::new(),
            committing: None,
            committed: Position::default(),
            pass: Pass::default(),
            wanted: Vec::new(),
            reach,
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
            self.unpark(*conversation, Vec::new()).await?;
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
        let mut errands = Errands::new();
        loop {
            self.take_in_backlog().await?;
            self.continue_pass();
            self.send_out(&errands);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                _ = commits.tick() => self.commit(committer).await?,
                // The first tick comes at once: the take-over's look at the holds.
                _ = housekeeping.tick() => self.begin_pass(),
                _ = ticks.tick() => self.tick().await?,
                Some(brought) = errands.next() => self.take_back(brought?, committer).await?,
                acknowledged = self.outbox.oldest() => acknowledged?,
                () = self.pace.lost() => self.pace.hurry(),
                records = reader.next(BATCH_RECORDS_MAX), if self.backlog.is_empty() && !self.pace.waits() => match records {
                    Ok(records) => {
                        self.behind = records.len() == BATCH_RECORDS_MAX;
                        for record in &records {
                            self.backlog.push_back(self.reach.message(record)?);
                        }
                    }
                    Err(error) if transient_log(&error) => reader = self.reader_again().await?,
                    Err(error) => return Err(error.into()),
                },
            }
        }
        self.commit_at_end(committer).await
    }

    /// Sends what is wanted. Who catches up waits for it, a little.
    fn send_out(&mut self, errands: &Errands) {
        for errand in self.wanted.drain(..) {
            if let Some(conversation) = errand.conversation().filter(|_| self.behind) {
                self.pace.sent(conversation);
            }
            errands.push(Box::pin(self.reach.clone().run(errand)));
        }
        let parked = i64::try_from(self.parked.len()).unwrap_or(i64::MAX);
        self.deps.metrics.parked.inc_by(parked - self.counted);
        self.counted = parked;
    }

    async fn reader(&self, from: u64) -> Result<Box<dyn PartitionReader>, FanoutError> {
        let Deps { log, entropy, .. } = &*self.deps;
        let open = || log.reader(MESSAGES, self.at.partition, from);
        Ok(insist("read the log", entropy, &self.stop, transient_log, open).await?)
    }

    /// A reader for going on after an error.
    async fn reader_again(&self) -> Result<Box<dyn PartitionReader>, FanoutError> {
        self.verify().await?;
        self.reader(self.intake).await
    }

    /// Fails when the log is not the one that it was. What was taken in last vouches for everything before it.
    async fn verify(&self) -> Result<(), FanoutError> {
        place::verify(&self.deps, &self.at, self.intake, self.fingerprint, &self.stop).await
    }

    /// Takes in what was read, in order, until it is done or one more would have to be parked than can be.
    async fn take_in_backlog(&mut self) -> Result<(), FanoutError> {
        if self.backlog.is_empty() || self.paused && !self.parked.has_room() {
            return Ok(());
        }
        let mut backlog = std::mem::take(&mut self.backlog);
        self.paused = false;
        while let Some(message) = backlog.front() {
            match self.take_in(message).await? {
                Taken::In => drop(backlog.pop_front()),
                Taken::Full => {
                    self.paused = true;
                    break;
                }
            }
        }
        self.backlog = backlog;
        self.cache.shrink();
        Ok(())
    }

    async fn take_in(&mut self, message: &Message) -> Result<Taken, FanoutError> {
        if let Some(conversation) = message.conversation {
            if self.parked.contains(conversation) {
                self.parked.follow(conversation, message.clone());
            } else if self.take_in_of(conversation, message).await? == Taken::Full {
                return Ok(Taken::Full);
            }
        }
        self.intake = message.placed.seq.offset() + 1;
        self.fingerprint = Some(message.fingerprint);
        Ok(Taken::In)
    }

    /// Takes in an event of a conversation that is not parked. What memory does not have is sent for, never waited for:
    /// the conversation is parked until it is there.
    async fn take_in_of(&mut self, conversation: ConversationId, message: &Message) -> Result<Taken, FanoutError> {
        let seq = message.placed.seq;
        let mut loaded = match self.cache.take(conversation) {
            Some(Slot::Ready(loaded)) => loaded,
            Some(Slot::Held) => {
                self.deps.metrics.skipped.inc();
                self.skip(conversation, Hold { skipped_to: Some(seq), done_through: None });
                self.cache.put(conversation, Slot::Held);
                return Ok(Taken::In);
            }
            None if self.parked.has_room() => {
                self.park(conversation, message);
                self.unpark(conversation, Vec::new()).await?;
                return Ok(Taken::In);
            }
            None => return Ok(Taken::Full),
        };
        let verdict = self.judge(&mut loaded, message, &[]).await?;
        match verdict {
            Verdict::Done => self.cache.put(conversation, Slot::Ready(loaded)),
            Verdict::Asks if self.parked.has_room() => {
                self.park(conversation, message);
                self.wanted.push(Errand::Complete { conversation, loaded, message: message.clone() });
            }
            Verdict::Hold if self.parked.has_room() => {
                self.park(conversation, message);
                self.hold(conversation, seq).await?;
            }
            Verdict::Asks => {
                self.cache.put(conversation, Slot::Ready(loaded));
                return Ok(Taken::Full);
            }
            Verdict::Hold => return Ok(Taken::Full),
        }
        Ok(Taken::In)
    }

    fn park(&mut self, conversation: ConversationId, message: &Message) {
        self.deps.metrics.parks.inc();
        self.parked.park(conversation, message.clone());
    }

    /// Goes on with what an errand has brought.
    async fn take_back(&mut self, brought: Brought, committer: &dyn Committer) -> Result<(), FanoutError> {
        match brought {
            Brought::For(conversation, found) => {
                self.pace.back(conversation);
                self.go_on(conversation, found).await?;
                self.cache.shrink();
                Ok(())
            }
            Brought::Holds(held, limit) => self.redrive(held, limit).await,
            Brought::Skips => match self.committing.take() {
                Some((position, _written)) => self.commit_position(position, committer).await,
                None => Ok(()),
            },
        }
    }

    /// Commits the position if it has changed: at once, or when what was skipped before it is written. While the store
    /// does not take that, commits are late, and deliveries go on.
    async fn commit(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        let position = self.position();
        if self.committing.is_some() || position == self.committed {
            return Ok(());
        }
        self.outbox.settle().await?;
        if self.skips.is_empty() || bites(Bug::HoldAfterCommit) {
            return self.commit_position(position, committer).await;
        }
        let skips = std::mem::take(&mut self.skips);
        self.wanted.push(Errand::Skips(skips.clone()));
        self.committing = Some((position, skips));
        Ok(())
    }

    /// Where the fan-out would go on now.
    fn position(&self) -> Position {
        let parked = self.parked.firsts().into_iter().map(|(conversation, first)| (conversation, first.offset()));
        let parked = if bites(Bug::ParkedForgotten) { Vec::new() } else { parked.collect() };
        Position { next: self.intake, fingerprint: self.fingerprint, parked }
    }

    /// The deliveries up to the position are acknowledged, and what was skipped up to there is written.
    async fn commit_position(&mut self, position: Position, committer: &dyn Committer) -> Result<(), FanoutError> {
        let commits = [(self.at.clone(), position.to_commit())];
        let commit = || committer.commit(&commits);
        insist("commit", &self.deps.entropy, &self.stop, transient_commit, commit).await?;
        self.deps.metrics.commits.inc();
        self.committed = position;
        if bites(Bug::HoldAfterCommit) {
            self.reach.put_holds(std::mem::take(&mut self.skips)).await?;
        }
        Ok(())
    }

    /// The last commit: tried once, since the process is stopping. What it misses is delivered again, and dropped by
    /// the clients' filter.
    async fn commit_at_end(&mut self, committer: &dyn Committer) -> Result<(), FanoutError> {
        self.stop = CancellationToken::new();
        self.reach = self.reach.clone().until(self.stop.clone());
        // Whether that has got there is not known.
        for (conversation, hold) in self.committing.take().into_iter().flat_map(|(_, unsure)| unsure) {
            self.skip(conversation, hold);
        }
        let last = async {
            let position = self.position();
            if position == self.committed {
                return Ok(());
            }
            self.outbox.settle().await?;
            if !bites(Bug::HoldAfterCommit) {
                self.reach.put_holds(std::mem::take(&mut self.skips)).await?;
            }
            self.commit_position(position, committer).await
        };
        match tokio::time::timeout(Duration::from_secs(5), last).await {
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
}
