//! One partition of `chat.messages`: the loop that takes events in, in order, and does what the judge decides.
//!
//! The loop never waits for a single answer: the store, the log read again, commits and a new reader are requested in
//! the background.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use consumer::{BATCH_RECORDS_MAX, ConsumerError, PartitionAccess, Seams};
use domain::ConversationId;
use eventlog::consume::Outcome;
use eventlog::{Assigned, Committer, DecodedRecord, LogError, NewRecord, PartitionReader, Record};
use events::topics::{DELIVERIES, spec_of};
use futures_util::stream::StreamExt;
use process::{Backoff, FaultLog};
use store::Hold;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;

use crate::background::{Background, Requests};
use crate::catch_up_wait::CatchUpWait;
use crate::decision::Decision;
use crate::lagging::{Lagging, REPORT_EVERY};
use crate::outbox::{Destination, HandOver, Outbox};
use crate::position::Position;
use crate::records::{Outgoing, Records};
use crate::request::{Reply, Request};
use crate::state::State;
use crate::undelivered::Undelivered;
use crate::{Deps, FanoutError};

/// How often the position is committed while something changes.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How often the owner tries its holds again.
const HOLDS_EVERY: Duration = Duration::from_secs(60);

/// A partition's work.
pub(crate) struct Partition {
    pub(crate) deps: Arc<Deps>,
    pub(crate) access: PartitionAccess,
    /// The state that the judge decides by.
    pub(crate) state: State,
    /// Records that were read and not taken in yet.
    pub(crate) backlog: VecDeque<DecodedRecord>,
    /// The first of the backlog would have to be parked, and there was no room.
    paused: bool,
    /// There is no reader since then: what a log fetches ahead for one that does not read may keep much else in memory.
    reader_closed: bool,
    /// The log had more than was read at once.
    behind: bool,
    wait: CatchUpWait,
    /// The waits while the log cannot be read.
    backoff: Backoff,
    faults: FaultLog,
    /// The number of parked conversations in the metric.
    counted: i64,
    /// The metrics of what is not delivered yet.
    pub(crate) undelivered: Undelivered,
    pub(crate) outbox: Outbox,
    /// Delivery partitions that accept no records at the moment.
    pub(crate) lagging: Lagging,
    /// While a position is being committed: the holds that are written before it.
    pub(crate) committing: Option<BTreeMap<ConversationId, Hold>>,
    /// What was committed last.
    pub(crate) committed: Position,
    /// Requests to be made at once.
    pub(crate) wanted: Vec<Request>,
    /// Requests to be made once so many deliveries are acknowledged.
    pub(crate) settling: Vec<(u64, Request)>,
    pub(crate) background: Background,
}

pub(crate) async fn run(
    deps: Arc<Deps>,
    assigned: Assigned,
    committer: Arc<dyn Committer>,
    stop: CancellationToken,
) -> Outcome {
    let access = PartitionAccess::new(deps.seams.clone(), assigned.at.clone(), stop);
    let background = Background::new(Arc::clone(&deps), access, committer);
    let mut partition = Partition::over(deps, background, None);
    let outcome = match partition.resume(assigned).await {
        Ok(()) => partition.consume().await,
        Err(error) => Err(error),
    };
    partition.end_followers().await;
    partition.deps.metrics.parked.dec_by(partition.counted);
    partition.undelivered.end(&partition.deps.metrics);
    FanoutError::outcome(outcome, &partition.access.at)
}

impl Partition {
    /// The work on a partition; for a follower, only for that delivery partition.
    pub(crate) fn over(deps: Arc<Deps>, background: Background, only: Option<u32>) -> Self {
        let (access, metrics) = (background.access.clone(), deps.metrics.clone());
        let Seams { codec, entropy, .. } = &access.seams;
        let records = Records { codec: codec.clone(), partitions: spec_of(DELIVERIES).partitions, only };
        let undelivered = Undelivered::new(&metrics, access.at.partition, only.is_some());
        Self {
            undelivered,
            state: State::new(access.spec.generation, deps.rules_newest, metrics, records, deps.queued_max),
            outbox: Outbox::new(Arc::clone(&deps.limits)),
            backoff: Backoff::new(entropy.clone()),
            faults: FaultLog::new("read the log"),
            deps,
            access,
            backlog: VecDeque::new(),
            paused: false,
            reader_closed: false,
            behind: false,
            wait: CatchUpWait::default(),
            counted: 0,
            lagging: Lagging::default(),
            committing: None,
            committed: Position::default(),
            wanted: Vec::new(),
            settling: Vec::new(),
            background,
        }
    }

    /// Goes on from the group's commit. Every request that reads the log checks first whether it is the same log.
    async fn resume(&mut self, assigned: Assigned) -> Result<(), FanoutError> {
        let commit = assigned.commit.ok_or_else(|| FanoutError::NoPosition(self.access.at.clone()))?;
        let position =
            Position::from_commit(&commit).map_err(|reason| FanoutError::Metadata(self.access.at.clone(), reason))?;
        let state = &mut self.state;
        (state.intake, state.fingerprint) = (position.next, position.fingerprint);
        self.read_on(Duration::ZERO);
        for (conversation, offset) in &position.parked {
            let decision = self.state.park_from(*conversation, self.access.seq(*offset)?, false)?;
            self.carry_out(*conversation, decision).await?;
        }
        self.resume_followers(&position.lagging)?;
        tracing::info!(partition = %self.access.at, next = self.state.intake, parked = self.state.parked.len(), "fan-out resumes");
        self.committed = position;
        Ok(())
    }

    async fn consume(&mut self) -> Result<(), FanoutError> {
        match self.work().await {
            Ok(()) | Err(FanoutError::Consumer(ConsumerError::Stopped)) => self.commit_at_end().await,
            Err(error) => Err(error),
        }
    }

    /// Works until it is told to stop.
    pub(crate) async fn work(&mut self) -> Result<(), FanoutError> {
        let commit_every = if self.state.is_follower() { REPORT_EVERY } else { COMMIT_EVERY };
        let mut commits = interval_at(Instant::now() + commit_every, commit_every);
        let mut housekeeping = interval(HOLDS_EVERY);
        let mut ticks = interval(self.tick_every());
        for timer in [&mut commits, &mut housekeeping, &mut ticks] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let (mut requests, mut reader, mut replies_first) = (Requests::new(), None, false);
        loop {
            self.take_in_backlog().await?;
            self.observe();
            if self.reader_closed && self.backlog.is_empty() {
                self.reader_closed = false;
                self.read_on(Duration::ZERO);
            }
            if let Decision::Ask(list) = self.state.continue_pass() {
                self.wanted.push(list);
            }
            self.send_out(&requests);
            let reads = self.backlog.is_empty() && !self.wait.waits() && !self.lagging.pauses();
            let pause_over = self.lagging.pause_over(self.state.intake);
            let reading = reader.as_mut().filter(|_| reads);
            tokio::select! {
                biased;
                () = self.access.stop.cancelled() => return Ok(()),
                _ = commits.tick() => {
                    self.mind_lagging().await?;
                    self.commit();
                    self.reader_closed |= self.paused && reader.take().is_some();
                }
                () = pause_over => self.mind_lagging().await?,
                // The first tick comes at once, so a new owner tries the holds.
                _ = housekeeping.tick() => self.state.begin_pass(),
                _ = ticks.tick() => self.tick().await?,
                acknowledged = self.outbox.acknowledged() => acknowledged?,
                error = self.lagging.failed() => return Err(error),
                () = self.wait.expired() => self.wait.give_up(),
                came = next(reading, &mut requests, replies_first) => match came {
                    Input::Back(reply) => {
                        replies_first = false;
                        match reply? {
                            Reply::Reader(opened) => reader = Some(opened),
                            reply => self.take_back(reply).await?,
                        }
                    }
                    Input::Records(records) => {
                        replies_first = true;
                        if !self.take_records(records)? {
                            reader = None;
                        }
                    }
                },
            }
        }
    }

    /// Takes the result of the reader; returns whether the reader can go on.
    fn take_records(&mut self, records: Result<Vec<Record>, LogError>) -> Result<bool, FanoutError> {
        match records {
            Ok(records) => {
                self.faults.well();
                self.backoff.reset();
                self.behind = records.len() == BATCH_RECORDS_MAX;
                self.wait.read_more();
                for record in &records {
                    self.backlog.push_back(self.access.message(record)?);
                }
                // Handing over what they lead to may take long: from now on they wait.
                self.observe();
                Ok(true)
            }
            Err(error) if error.is_transient() => {
                self.faults.fault(&error);
                let wait = self.backoff.next_wait();
                self.read_on(wait);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for a reader from the intake on.
    fn read_on(&mut self, wait: Duration) {
        let State { intake, fingerprint, .. } = self.state;
        self.wanted.push(Request::Read { from: intake, last: fingerprint, wait });
    }

    /// Makes the requests that are due. While the intake catches up, it waits a little for their answers.
    fn send_out(&mut self, requests: &Requests) {
        let secured = self.lagging.is_in(&self.committed.lagging);
        let (outbox, wanted) = (&self.outbox, &mut self.wanted);
        let settled = self.settling.extract_if(.., |(mark, request)| {
            // Only the commit tells what is missing where a partition lags: rows that call an event done come after it.
            outbox.has_acknowledged(*mark) && (secured || matches!(request, Request::Commit(..)))
        });
        wanted.extend(settled.map(|(_, request)| request));
        for request in self.wanted.drain(..) {
            let waits = |conversation: &ConversationId| self.behind && !self.state.parked.is_redriven(*conversation);
            if let Some(conversation) = request.conversation().filter(waits) {
                self.wait.requested(conversation);
            }
            requests.push(Box::pin(self.background.clone().run(request)));
        }
        if self.state.is_follower() {
            return;
        }
        let parked = i64::try_from(self.state.parked.len()).unwrap_or(i64::MAX);
        self.deps.metrics.parked.inc_by(parked - self.counted);
        self.counted = parked;
    }

    /// Takes in what was read, in order, until it is done or one more conversation would have to be parked than can be.
    async fn take_in_backlog(&mut self) -> Result<(), FanoutError> {
        if self.backlog.is_empty() || self.lagging.pauses() || self.paused && !self.state.parked.has_room() {
            return Ok(());
        }
        let mut backlog = std::mem::take(&mut self.backlog);
        self.paused = false;
        while let Some(message) = backlog.front() {
            if !self.take_in(message).await? {
                self.paused = true;
                break;
            }
            backlog.pop_front();
        }
        self.backlog = backlog;
        self.state.cache.shrink();
        Ok(())
    }

    /// Takes an event in; returns whether there was room for it.
    async fn take_in(&mut self, message: &DecodedRecord) -> Result<bool, FanoutError> {
        let Some(decision) = self.state.take_in(message)? else { return Ok(false) };
        if let Some(conversation) = message.conversation {
            self.carry_out(conversation, decision).await?;
        }
        self.state.passed(message);
        Ok(true)
    }

    /// Carries out the decisions about a conversation, until there is nothing more to do for it at the moment.
    async fn carry_out(&mut self, conversation: ConversationId, mut decision: Decision) -> Result<(), FanoutError> {
        loop {
            match decision {
                Decision::Nothing => return Ok(()),
                Decision::Ask(request) => {
                    self.wanted.push(request);
                    return Ok(());
                }
                Decision::AskBehind(request) => {
                    self.settling.push((self.outbox.mark(), request));
                    return Ok(());
                }
                Decision::Deliver(seq, records) => {
                    // The row of its hold says that a re-driven event is still owed: no follower has to go back to it.
                    let redriven = self.state.parked.is_redriven(conversation);
                    let source = if redriven { self.state.intake } else { seq.offset() };
                    for record in records {
                        // How long an event has waited for an upgrade is not how long deliveries take.
                        self.deliver(record, source, !redriven).await?;
                    }
                    decision = self.state.delivered(conversation, seq)?;
                }
            }
        }
    }

    /// Hands over a delivery of the event at `source`, or of a held event that is re-driven when the intake is there,
    /// unless its partition lags.
    async fn deliver(&mut self, delivery: Outgoing, source: u64, timed: bool) -> Result<(), FanoutError> {
        let Outgoing { partition, record, appended_ms, recipients } = delivery;
        if self.lagging.contains(partition) {
            return Ok(self.leave_to_follower(partition, source).await?);
        }
        // A follower has nothing else to do; and where no more partitions may lag, waiting is all that is left.
        let patient = self.state.is_follower() || !self.lagging.has_room();
        let destination = Destination { partition, source, appended_ms: timed.then_some(appended_ms), patient };
        match self.hand_over(record, destination).await? {
            HandOver::Over => {
                self.deps.metrics.deliveries.inc();
                self.deps.metrics.recipients.inc_by(recipients);
            }
            HandOver::Stuck => self.lag(partition, source)?,
        }
        Ok(())
    }

    async fn hand_over(&mut self, record: NewRecord, destination: Destination) -> Result<HandOver, FanoutError> {
        let (Seams { log, entropy, .. }, stop) = (&self.access.seams, &self.access.stop);
        self.outbox.send(&**log, record, destination, entropy, stop).await
    }

    /// Goes on with an answer.
    async fn take_back(&mut self, reply: Reply) -> Result<(), FanoutError> {
        match reply {
            Reply::For(conversation, found) => {
                self.wait.answered(conversation);
                let decision = self.state.go_on(conversation, found)?;
                self.carry_out(conversation, decision).await?;
                self.state.cache.shrink();
                Ok(())
            }
            Reply::Holds(held, limit) => {
                for (conversation, decision) in self.state.redrive(held, limit)? {
                    self.carry_out(conversation, decision).await?;
                }
                Ok(())
            }
            Reply::Committed(position) => self.committed(position).await,
            Reply::Reader(_) => Ok(()),
        }
    }

    /// An eighth of the deliveries' retention, so that a quiet partition is never trimmed empty.
    fn tick_every(&self) -> Duration {
        spec_of(DELIVERIES).retention.map_or(Duration::from_secs(86_400), |retention| retention / 8)
    }

    /// Writes a tick to this partition's share of the delivery partitions.
    async fn tick(&mut self) -> Result<(), FanoutError> {
        let Records { partitions, only, .. } = self.state.records;
        for partition in (self.access.at.partition..partitions).step_by(self.access.spec.partitions as usize) {
            if self.lagging.contains(partition) || only.is_some_and(|only| only != partition) {
                continue;
            }
            let encoded = self.access.seams.codec.tick();
            let (headers, payload) = (encoded.headers, encoded.payload);
            let record = NewRecord { key: "tick".into(), partition: Some(partition), headers, payload };
            // Where there is no room, there are records.
            let destination = Destination { partition, source: u64::MAX, appended_ms: None, patient: false };
            self.hand_over(record, destination).await?;
        }
        Ok(())
    }
}

/// An input of the loop.
enum Input {
    Records(Result<Vec<Record>, LogError>),
    Back(Result<Reply, FanoutError>),
}

/// The next records or the next reply. They take turns, so that neither keeps the other waiting.
async fn next(reader: Option<&mut Box<dyn PartitionReader>>, requests: &mut Requests, replies_first: bool) -> Input {
    let records = async {
        match reader {
            Some(reader) => Input::Records(reader.next(BATCH_RECORDS_MAX).await),
            None => std::future::pending().await,
        }
    };
    let back = async {
        match requests.next().await {
            Some(reply) => Input::Back(reply),
            None => std::future::pending().await,
        }
    };
    if replies_first {
        tokio::select! { biased; came = back => came, came = records => came }
    } else {
        tokio::select! { biased; came = records => came, came = back => came }
    }
}
