//! One partition of `chat.messages`: taking events in, in order.
//!
//! The loop waits for nothing but what comes next: the store, the log read again, commits and a new reader are errands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::{ConversationId, Fingerprint, Seq};
use eventlog::consume::{Ended, Outcome};
use eventlog::{Assigned, Committer, LogError, Message, NewRecord, PartitionReader, Record, TopicPartition};
use events::topics::{DELIVERIES, MESSAGES, spec_of};
use futures_util::stream::StreamExt;
use runtime::{Backoff, FaultLog};
use store::{Conversations, Hold, Slot};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;

use crate::emit::Verdict;
use crate::hold::Pass;
use crate::lagging::Lagging;
use crate::outbox::{Outbox, Way};
use crate::pace::Pace;
use crate::parked::ParkedSet;
use crate::position::Position;
use crate::reach::{Brought, Errand, Errands, Reach};
use crate::{Deps, FanoutError};

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
    /// Waits and words while the log cannot be read.
    backoff: Backoff,
    faults: FaultLog,
    pub(crate) cache: Conversations,
    pub(crate) parked: ParkedSet,
    /// How many of them the metric counts.
    counted: i64,
    pub(crate) outbox: Outbox,
    /// Delivery partitions that take nothing at the moment.
    pub(crate) lagging: Lagging,
    /// The one delivery partition that this is a follower for; none: all of them.
    pub(crate) follows: Option<u32>,
    /// What is still to be written of holds: events skipped since the last commit.
    pub(crate) skips: BTreeMap<ConversationId, Hold>,
    /// While a position is on its way: what of holds goes before it.
    pub(crate) committing: Option<BTreeMap<ConversationId, Hold>>,
    /// What was committed last.
    pub(crate) committed: Position,
    /// The look at the holds.
    pub(crate) pass: Pass,
    /// Errands to send.
    pub(crate) wanted: Vec<Errand>,
    /// Errands to send once so many deliveries are acknowledged.
    pub(crate) settling: Vec<(u64, Errand)>,
    pub(crate) reach: Reach,
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
    let mut partition = Partition::new(deps, assigned.at.clone(), committer, stop);
    let outcome = match partition.resume(assigned).await {
        Ok(()) => partition.consume().await,
        Err(error) => Err(error),
    };
    partition.end_followers().await;
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
    fn new(deps: Arc<Deps>, at: TopicPartition, committer: Arc<dyn Committer>, stop: CancellationToken) -> Self {
        let reach = Reach::new(Arc::clone(&deps), at.partition, committer, stop.clone());
        Self::with_reach(deps, at, reach, stop)
    }

    pub(crate) fn with_reach(deps: Arc<Deps>, at: TopicPartition, reach: Reach, stop: CancellationToken) -> Self {
        let (spec, queued_max) = (spec_of(MESSAGES), deps.queued_max);
        Self {
            outbox: Outbox::new(Arc::clone(&deps.rooms)),
            backoff: Backoff::new(deps.entropy.clone()),
            faults: FaultLog::new("read the log"),
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
            parked: ParkedSet::new(queued_max),
            counted: 0,
            lagging: Lagging::default(),
            follows: None,
            skips: BTreeMap::new(),
            committing: None,
            committed: Position::default(),
            pass: Pass::default(),
            wanted: Vec::new(),
            settling: Vec::new(),
            reach,
            stop,
        }
    }

    /// Goes on from the group's commit. Whether the log is the one it was, every errand that reads it looks at first.
    async fn resume(&mut self, assigned: Assigned) -> Result<(), FanoutError> {
        let commit = assigned.commit.ok_or_else(|| FanoutError::NoPosition(self.at.clone()))?;
        let position =
            Position::from_commit(&commit).map_err(|reason| FanoutError::Metadata(self.at.clone(), reason))?;
        (self.intake, self.fingerprint) = (position.next, position.fingerprint);
        self.wanted.push(Errand::Read { from: self.intake, last: self.fingerprint, wait: Duration::ZERO });
        for (conversation, offset) in &position.parked {
            self.parked.park_from(*conversation, Seq::new(self.generation, *offset)?, false);
            self.unpark(*conversation, store::Answers::default()).await?;
        }
        for (partition, offset) in &position.lagging {
            self.follow(*partition, *offset, *offset, VecDeque::new());
        }
        tracing::info!(partition = %self.at, next = self.intake, parked = self.parked.len(), "fan-out resumes");
        self.committed = position;
        Ok(())
    }

    async fn consume(&mut self) -> Result<(), FanoutError> {
        match self.work().await {
            Ok(()) | Err(FanoutError::Stopped) => self.commit_at_end().await,
            Err(error) => Err(error),
        }
    }

    /// Until it is to stop.
    pub(crate) async fn work(&mut self) -> Result<(), FanoutError> {
        let mut commits = interval_at(Instant::now() + COMMIT_EVERY, COMMIT_EVERY);
        let mut housekeeping = interval(HOLDS_EVERY);
        let mut ticks = interval(self.tick_every());
        for timer in [&mut commits, &mut housekeeping, &mut ticks] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let (mut errands, mut reader, mut errands_first) = (Errands::new(), None, false);
        loop {
            self.take_in_backlog().await?;
            self.continue_pass();
            self.send_out(&errands);
            let reads = self.backlog.is_empty() && !self.pace.waits();
            let reading = reader.as_mut().filter(|_| reads);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                _ = commits.tick() => {
                    self.mind_lagging().await;
                    self.commit();
                }
                // The first tick comes at once: the take-over's look at the holds.
                _ = housekeeping.tick() => self.begin_pass(),
                _ = ticks.tick() => self.tick().await?,
                acknowledged = self.outbox.acknowledged() => acknowledged?,
                error = self.lagging.failed() => return Err(error),
                () = self.pace.lost() => self.pace.hurry(),
                came = next(reading, &mut errands, errands_first) => match came {
                    Came::Back(brought) => {
                        errands_first = false;
                        match brought? {
                            Brought::Reader(opened) => reader = Some(opened),
                            brought => self.take_back(brought).await?,
                        }
                    }
                    Came::Records(records) => {
                        errands_first = true;
                        if !self.take_records(records)? {
                            reader = None;
                        }
                    }
                },
            }
        }
    }

    /// Takes what the reader says; whether it can go on.
    fn take_records(&mut self, records: Result<Vec<Record>, LogError>) -> Result<bool, FanoutError> {
        match records {
            Ok(records) => {
                self.faults.well();
                self.backoff.reset();
                self.behind = records.len() == BATCH_RECORDS_MAX;
                self.pace.begin();
                for record in &records {
                    self.backlog.push_back(self.reach.message(record)?);
                }
                Ok(true)
            }
            Err(error) if error.is_transient() => {
                self.faults.fault(&error);
                let wait = self.backoff.next_wait();
                self.wanted.push(Errand::Read { from: self.intake, last: self.fingerprint, wait });
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what is wanted, and what its deliveries were waited for. Who catches up waits for it, a little.
    fn send_out(&mut self, errands: &Errands) {
        let secured = self.lagging.is_in(&self.committed.lagging);
        let (outbox, wanted) = (&self.outbox, &mut self.wanted);
        let settled = self.settling.extract_if(.., |(mark, errand)| {
            // What is missing where a partition lags, only the commit says: rows that call it done come after it.
            outbox.has_acknowledged(*mark) && (secured || matches!(errand, Errand::Commit(..)))
        });
        wanted.extend(settled.map(|(_, errand)| errand));
        for errand in self.wanted.drain(..) {
            let waits = |conversation: &ConversationId| self.behind && !self.parked.is_redriven(*conversation);
            if let Some(conversation) = errand.conversation().filter(waits) {
                self.pace.sent(conversation);
            }
            errands.push(Box::pin(self.reach.clone().run(errand)));
        }
        if self.follows.is_some() {
            return;
        }
        let parked = i64::try_from(self.parked.len()).unwrap_or(i64::MAX);
        self.deps.metrics.parked.inc_by(parked - self.counted);
        self.counted = parked;
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
                self.unpark(conversation, store::Answers::default()).await?;
                return Ok(Taken::In);
            }
            None => return Ok(Taken::Full),
        };
        let verdict = self.judge(&mut loaded, message, &store::Answers::default()).await?;
        match verdict {
            Verdict::Done => self.cache.put(conversation, Slot::Ready(loaded)),
            Verdict::Asks if self.parked.has_room() => {
                self.park(conversation, message);
                self.wanted.push(Errand::Complete { conversation, loaded, message: message.clone() });
            }
            Verdict::Hold if self.parked.has_room() => {
                self.park(conversation, message);
                self.hold(conversation, seq)?;
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
    async fn take_back(&mut self, brought: Brought) -> Result<(), FanoutError> {
        match brought {
            Brought::For(conversation, found) => {
                self.pace.back(conversation);
                self.go_on(conversation, found).await?;
                self.cache.shrink();
                Ok(())
            }
            Brought::Holds(held, limit) => self.redrive(held, limit).await,
            Brought::Committed(position) => self.committed(position).await,
            Brought::Reader(_) => Ok(()),
        }
    }

    /// An eighth of the deliveries' retention: a quiet partition is never trimmed empty.
    fn tick_every(&self) -> Duration {
        spec_of(DELIVERIES).retention.map_or(Duration::from_secs(86_400), |retention| retention / 8)
    }

    /// Writes a tick to this partition's share of the delivery partitions.
    async fn tick(&mut self) -> Result<(), FanoutError> {
        for partition in (self.at.partition..self.delivery_partitions).step_by(self.partitions as usize) {
            if self.lagging.contains(partition) || self.follows.is_some_and(|only| only != partition) {
                continue;
            }
            let encoded = self.deps.codec.tick();
            let (headers, payload) = (encoded.headers, encoded.payload);
            let record = NewRecord { key: "tick".into(), partition: Some(partition), headers, payload };
            let (log, entropy) = (self.deps.log.clone(), self.deps.entropy.clone());
            // Where there is no room, there are records.
            let way = Way { partition, source: u64::MAX, patient: false };
            self.outbox.send(&*log, record, way, &entropy, &self.stop).await?;
        }
        Ok(())
    }
}

/// What comes next.
enum Came {
    Records(Result<Vec<Record>, LogError>),
    Back(Result<Brought, FanoutError>),
}

/// The next records or the next errand that is back. They take turns: neither can keep the other waiting.
async fn next(reader: Option<&mut Box<dyn PartitionReader>>, errands: &mut Errands, errands_first: bool) -> Came {
    let records = async {
        match reader {
            Some(reader) => Came::Records(reader.next(BATCH_RECORDS_MAX).await),
            None => std::future::pending().await,
        }
    };
    let back = async {
        match errands.next().await {
            Some(brought) => Came::Back(brought),
            None => std::future::pending().await,
        }
    };
    if errands_first {
        tokio::select! { biased; came = back => came, came = records => came }
    } else {
        tokio::select! { biased; came = records => came, came = back => came }
    }
}
