//! Read marks and account events: relayed to all devices of the user concerned. The reducer has no part in it.
//!
//! Records of a schema that this program does not know are held by key (`hold_records.rs`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use consumer::{BATCH_RECORDS_MAX, ConsumerError, PartitionAccess, Seams, key_of};
use domain::{ConversationId, Fingerprint, UserId};
use environment::seeded_bugs::{Bug, seeded};
use eventlog::consume::Outcome;
use eventlog::{Assigned, Commit, CommitError, Committer, NewRecord, Quarantine, Record};
use events::topics::{DELIVERIES, RECEIPTS, USERS, spec_of};
use events::{AccountEvent, DecodeError, Delivery, HEADER_ID, HEADER_TRACE};
use process::{Age, Backoff, FaultLog, TopicLabel, retry_until_stopped};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::commit::{COMMIT_AT_END, SETTLE_AT_END};
use crate::lagging::{Following, LAGGING_MAX, Lagging, REPORT_EVERY, Reached};
use crate::outbox::{Destination, HandOver, Outbox, Sent, first_source};
use crate::pending_holds::PendingHolds;
use crate::position::{Position, before};
use crate::records::by_partition;
use crate::{Deps, FanoutError};

/// How often the position is committed while something changes.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How often held records are tried again.
const HOLDS_EVERY: Duration = Duration::from_secs(60);

/// The kind of records that are relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relayed {
    /// Read marks, of `chat.receipts`.
    Marks,
    /// Account events, of `users.events`.
    Accounts,
}

impl Relayed {
    /// The topic that they stand in.
    fn topic(self) -> &'static str {
        match self {
            Self::Marks => RECEIPTS,
            Self::Accounts => USERS,
        }
    }
}

pub(crate) async fn run(
    relayed: Relayed,
    deps: Arc<Deps>,
    assigned: Assigned,
    committer: Arc<dyn Committer>,
    stop: CancellationToken,
) -> Outcome {
    let outbox = Outbox::new(Arc::clone(&deps.limits));
    let access = PartitionAccess::new(deps.seams.clone(), assigned.at, stop);
    let mut relay = Relay::new(relayed, deps, access, assigned.commit, committer, outbox);
    let outcome = match relay.consume().await {
        Ok(()) | Err(FanoutError::Consumer(ConsumerError::Stopped)) => relay.commit_at_end().await,
        failed => failed,
    };
    relay.end_followers().await;
    FanoutError::outcome(outcome, &relay.access.at)
}

pub(crate) struct Relay {
    pub(crate) relayed: Relayed,
    pub(crate) deps: Arc<Deps>,
    pub(crate) access: PartitionAccess,
    /// The commit to begin from.
    commit: Option<Commit>,
    committer: Arc<dyn Committer>,
    /// The next offset to relay.
    next: u64,
    /// The fingerprint of the record before it.
    last: Option<Fingerprint>,
    /// What was committed last.
    committed: Option<Position>,
    /// The position to commit once so many deliveries are acknowledged.
    pub(crate) committing: Option<(u64, Position)>,
    pub(crate) outbox: Outbox,
    /// Delivery partitions that accept no records at the moment.
    pub(crate) lagging: Lagging,
    quarantine: Quarantine,
    /// For a follower, its delivery partition; none: all of them.
    pub(crate) follows: Option<u32>,
    /// Records that it cannot read yet.
    pub(crate) held: PendingHolds,
    /// Since when a record waits for its delivery, for the metrics.
    waits: Age,
}

/// A record as the relay reads it.
pub(crate) enum Framed {
    /// It concerns no user.
    Nobody,
    /// That user gets that frame.
    For(UserId, String),
    /// It is held, for this key and reason.
    Unknown(ConversationId, String),
}

impl Relay {
    fn new(
        relayed: Relayed,
        deps: Arc<Deps>,
        access: PartitionAccess,
        commit: Option<Commit>,
        committer: Arc<dyn Committer>,
        outbox: Outbox,
    ) -> Self {
        let (next, last, committed, committing) = (0, None, None, None);
        let (lagging, quarantine, follows) = (Lagging::default(), Quarantine::default(), None);
        let waits = deps.metrics.relay_lag.of(TopicLabel { topic: relayed.topic() });
        Self {
            relayed,
            deps,
            access,
            commit,
            committer,
            next,
            last,
            committed,
            committing,
            outbox,
            lagging,
            quarantine,
            follows,
            held: PendingHolds::default(),
            waits,
        }
    }

    /// Works until it is told to stop.
    async fn consume(&mut self) -> Result<(), FanoutError> {
        self.resume()?;
        let commit_every = if self.follows.is_some() { REPORT_EVERY } else { COMMIT_EVERY };
        let mut commits = interval_at(Instant::now() + commit_every, commit_every);
        let mut holds = interval(HOLDS_EVERY);
        for timer in [&mut commits, &mut holds] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let (mut backoff, mut faults) =
            (Backoff::new(self.access.seams.entropy.clone()), FaultLog::new("read the log"));
        loop {
            let opening = self.access.reader(self.next, before(self.next, self.last));
            let mut reader = self.outbox.beside(opening).await??;
            let mut again = None;
            loop {
                self.waits.since(self.outbox.oldest_ms());
                self.commit_settled().await?;
                let pause_over = self.lagging.pause_over(self.next);
                let reads = again.is_none() && !self.lagging.pauses();
                tokio::select! {
                    biased;
                    () = self.access.stop.cancelled() => return Ok(()),
                    _ = commits.tick() => {
                        self.mind_lagging().await;
                        self.commit();
                    }
                    () = pause_over => self.mind_lagging().await,
                    // The first tick comes at once, so a new owner tries the held records.
                    _ = holds.tick() => self.list_holds(),
                    back = self.held.back() => self.take_back(back).await?,
                    acknowledged = self.outbox.acknowledged() => acknowledged?,
                    error = self.lagging.failed() => return Err(error),
                    () = at_time(again) => break,
                    records = reader.next(BATCH_RECORDS_MAX), if reads => match records {
                        Ok(records) => {
                            faults.well();
                            backoff.reset();
                            for record in &records {
                                self.relay(record).await?;
                            }
                        }
                        Err(error) if error.is_transient() => {
                            faults.fault(&error);
                            again = Some(Instant::now() + backoff.next_wait());
                        }
                        Err(error) => return Err(error.into()),
                    },
                }
            }
        }
    }

    fn resume(&mut self) -> Result<(), FanoutError> {
        let at = &self.access.at;
        let commit = self.commit.as_ref().ok_or_else(|| FanoutError::NoPosition(at.clone()))?;
        let position = Position::from_commit(commit).map_err(|reason| FanoutError::Metadata(at.clone(), reason))?;
        (self.next, self.last) = (position.next, position.fingerprint);
        if self.follows.is_none() {
            for (partition, offset) in &position.lagging {
                self.follow(*partition, *offset, *offset, VecDeque::new());
            }
            self.committed = Some(position);
        }
        Ok(())
    }

    async fn relay(&mut self, record: &Record) -> Result<(), FanoutError> {
        // Handing it over may take long: its delivery partition may be full.
        self.waits.since([self.outbox.oldest_ms(), Some(record.append_time_ms)].into_iter().flatten().min());
        match self.frame(record).await? {
            Framed::Nobody => {}
            Framed::For(user, frame) => self.deliver_to(record, user, &frame).await?,
            // A follower skips it: the relay that it belongs to has held it.
            Framed::Unknown(..) if self.follows.is_some() => {}
            Framed::Unknown(key, schema) => self.hold(record, key, &schema)?,
        }
        self.next = record.offset + 1;
        self.last = Some(record.fingerprint());
        Ok(())
    }

    /// Delivers to the user's partition, unless that is another follower's or lags.
    pub(crate) async fn deliver_to(&mut self, record: &Record, user: UserId, frame: &str) -> Result<(), FanoutError> {
        for partition in by_partition(&[user], spec_of(DELIVERIES).partitions).into_keys() {
            let others = self.follows.is_some_and(|only| only != partition);
            if !others && !self.lagging.contains(partition) {
                self.deliver(record, user, partition, frame.to_owned()).await?;
            }
        }
        Ok(())
    }

    async fn deliver(
        &mut self,
        record: &Record,
        user: UserId,
        partition: u32,
        frame: String,
    ) -> Result<(), FanoutError> {
        let delivery = Delivery { recipients: vec![user], event_key: None, frame };
        let encoded = self.access.seams.codec.delivery(&delivery);
        let mut headers = encoded.headers;
        let kept = record.headers.iter().filter(|(name, _)| name == HEADER_TRACE || name == HEADER_ID);
        headers.extend(kept.cloned());
        let (key, source, appended_ms) = (user.to_string(), record.offset, record.append_time_ms);
        // A held record that is relayed now has waited for an upgrade, and not for its delivery.
        let appended_ms = (source >= self.next).then_some(appended_ms);
        let record = NewRecord { key, partition: Some(partition), headers, payload: encoded.payload };
        let patient = self.follows.is_some() || !self.lagging.has_room();
        let (Seams { log, entropy, .. }, destination) =
            (&self.access.seams, Destination { partition, source, appended_ms, patient });
        match self.outbox.send(&**log, record, destination, entropy, &self.access.stop).await? {
            HandOver::Over => drop(self.deps.metrics.deliveries.inc()),
            HandOver::Stuck => self.lag(partition, source),
        }
        Ok(())
    }

    /// A delivery partition accepts no records: from `source` on, a follower delivers to it. The follower also waits
    /// for the records that were handed over before.
    fn lag(&mut self, partition: u32, source: u64) {
        let sent = self.outbox.take(partition);
        let reached = first_source(&sent).map_or(source, |first| first.min(source));
        let at = &self.access.at;
        tracing::warn!(partition = %at, delivery_partition = partition, from = reached, "a delivery partition lags");
        self.follow(partition, source, reached, sent);
        // A waiting commit was made when these deliveries were still waited for.
        let waiting = self.committing.as_mut().or_else(|| self.held.committing());
        if let Some((_, position)) = waiting {
            position.lagging.push((partition, reached.min(position.next)));
        }
    }

    /// Starts a follower from `from` on. Deliveries may be missing from `reached` on, of which those in `sent` are in
    /// flight.
    fn follow(&mut self, partition: u32, from: u64, reached: u64, sent: VecDeque<Sent>) {
        let (tell, reached) = watch::channel(reached);
        let committer = Arc::new(Reached(tell));
        let commit = Some(Commit { next: from, metadata: String::new() });
        let outbox = Outbox::beginning(Arc::clone(&self.deps.limits), partition, sent);
        let mut follower =
            Self::new(self.relayed, Arc::clone(&self.deps), self.access.clone(), commit, committer, outbox);
        follower.follows = Some(partition);
        self.deps.metrics.lagging.inc();
        self.lagging.begin(partition, from, reached, following(follower));
    }

    /// Ends followers that have caught up, and starts one where records have waited for long while others went on.
    async fn mind_lagging(&mut self) {
        for partition in self.lagging.caught_up(self.next) {
            let at = &self.access.at;
            tracing::info!(partition = %at, delivery_partition = partition, "a delivery partition has caught up");
            self.deps.metrics.lagging.dec();
            self.lagging.end(partition).await;
        }
        self.lagging.pause_if_close(self.next);
        if self.follows.is_none() {
            for partition in self.outbox.stale() {
                if self.lagging.has_room() {
                    self.lag(partition, self.next);
                }
            }
        }
    }

    async fn end_followers(&mut self) {
        self.deps.metrics.lagging.dec_by(i64::try_from(self.lagging.len()).unwrap_or(i64::MAX));
        self.lagging.end_all().await;
    }

    /// The user that the record concerns, and the frame for their devices.
    pub(crate) async fn frame(&mut self, record: &Record) -> Result<Framed, FanoutError> {
        let codec = &self.access.seams.codec;
        let frame = match self.relayed {
            Relayed::Marks => codec.read_receipt(&record.headers, &record.payload).map(|read| {
                let read = read?;
                let (conversation, user) = (read.conversation, read.user);
                Some((user, protocol::FeedFrame::Read { conversation, user, mark: read.seq, ordinal: read.ordinal }))
            }),
            Relayed::Accounts => codec.read_user_event(&record.headers, &record.payload).map(|event| {
                let event = event?;
                let name = match event.what {
                    AccountEvent::Registered { .. } => "registered",
                    AccountEvent::SessionStarted => "signed_in",
                    AccountEvent::SessionEnded => "signed_out",
                    AccountEvent::PrivacyChanged => "privacy_changed",
                };
                Some((event.user, protocol::FeedFrame::Account { event: name.to_owned(), time: event.time_ms }))
            }),
        };
        let reason = match (frame, key_of(record)) {
            (Ok(None), _) => return Ok(Framed::Nobody),
            (Ok(Some((user, frame))), _) => {
                let frame = serde_json::to_string(&frame).expect("a feed frame has string keys only");
                return Ok(Framed::For(user, frame));
            }
            (Err(DecodeError::UnknownSchema(schema)), Some(key)) => return Ok(Framed::Unknown(key, schema)),
            (Err(DecodeError::Corrupt(reason)), _) => reason,
            (Err(DecodeError::UnknownSchema(_)), None) => "its key is no id".to_owned(),
        };
        // Storage copies corrupt read marks; account events nobody else does.
        if self.follows.is_none() && self.relayed == Relayed::Accounts {
            self.access.quarantine(&mut self.quarantine, record, &reason).await;
        }
        self.deps.metrics.corrupt.inc();
        Ok(Framed::Nobody)
    }

    /// Requests a commit of the position, if it has changed.
    fn commit(&mut self) {
        let position = self.position();
        let idle = self.committing.is_none() && self.held.committing().is_none();
        if idle && self.committed.as_ref() != Some(&position) {
            let mark = if seeded(Bug::RelayCommitsEarly) { 0 } else { self.outbox.mark() };
            self.committing = self.write_holds_before((mark, position));
        }
    }

    fn position(&self) -> Position {
        let lagging = self.lagging.positions();
        Position { next: self.next, fingerprint: self.last, parked: Vec::new(), lagging }
    }

    /// Commits once the deliveries before the position are acknowledged.
    async fn commit_settled(&mut self) -> Result<(), FanoutError> {
        let Some((_, position)) = self.committing.take_if(|(mark, _)| self.outbox.has_acknowledged(*mark)) else {
            return Ok(());
        };
        let commits = [(self.access.at.clone(), position.to_commit())];
        let (committer, entropy) = (Arc::clone(&self.committer), self.access.seams.entropy.clone());
        let commit = || committer.commit(&commits);
        let committing = retry_until_stopped("commit", &entropy, &self.access.stop, CommitError::is_transient, commit);
        self.outbox.beside(committing).await??;
        if self.follows.is_none() {
            self.deps.metrics.commits.inc();
        }
        self.committed = Some(position);
        Ok(())
    }

    /// The last commit: tried once, since the process is stopping.
    async fn commit_at_end(&mut self) -> Result<(), FanoutError> {
        self.access.stop = CancellationToken::new();
        self.committing = None;
        let last = async {
            let settled = tokio::time::timeout(SETTLE_AT_END, self.outbox.settle()).await;
            settled.unwrap_or(Ok(()))?;
            // The next owner goes on there from what was not acknowledged.
            let mut position = self.position();
            for partition in self.outbox.unsettled() {
                let first = first_source(&self.outbox.take(partition)).unwrap_or(self.next);
                position.lagging.push((partition, first));
            }
            self.write_last_holds().await?;
            if position.lagging.len() > LAGGING_MAX || self.committed.as_ref() == Some(&position) {
                return Ok(());
            }
            self.committing = Some((self.outbox.mark(), position));
            self.commit_settled().await
        };
        tokio::time::timeout(COMMIT_AT_END, last).await.unwrap_or(Ok(()))
    }
}

/// Boxed here, where the recursion of the types must end: a follower is the same loop.
fn following(mut follower: Relay) -> Following {
    Box::pin(async move { follower.consume().await })
}

/// Completes at that time; pending without one.
async fn at_time(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
