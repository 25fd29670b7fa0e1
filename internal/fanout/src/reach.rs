//! What the partition's loop sends for and never waits for itself: the store, the group, and the log read anew or again.
//!
//! An errand goes on until it has what it was sent for, through any outage, while the loop goes on delivering; so a
//! conversation waits for nobody's facts but its own. It has one errand at a time, and is parked until that is back.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use domain::{ConversationId, Fingerprint, Seq};
use eventlog::{CommitError, Committer, Meaning, Message, PartitionReader, Record, TopicPartition};
use events::topics::{MESSAGES, TopicSpec, spec_of};
use futures_util::stream::{self, FuturesUnordered, TryStreamExt};
use runtime::insist;
use store::{Answers, Consumer, Facts, Hold, Loaded, Source, Store, StoreError, load};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::partition::BATCH_RECORDS_MAX;
use crate::position::Position;
use crate::{Deps, FanoutError, place};

/// How long one wait for `applied` lasts before it is asked anew.
const APPLIED_WAIT: Duration = Duration::from_secs(5);
/// Errands of a partition that read the log at once.
const REREADS_AT_ONCE: usize = 2;
/// Events of one conversation that are read again at once.
const REREAD_EVENTS_MAX: usize = 500;
/// Records that one errand reads at about most: then what it has found is judged.
const REREAD_RECORDS_MAX: u64 = 20 * BATCH_RECORDS_MAX as u64;
/// How long a follower waits before it looks again at a conversation that cannot be judged.
const HELD_AGAIN: Duration = Duration::from_secs(10);
/// Rows of holds that are written at once.
const HOLDS_AT_ONCE: usize = 64;

/// The errands under way.
pub(crate) type Errands = FuturesUnordered<Pin<Box<dyn Future<Output = Result<Brought, FanoutError>> + Send>>>;

/// What the loop sends for.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A cold conversation, for `message`, its next event.
    Open {
        conversation: ConversationId,
        /// Whether it is judged again after our hold, which says nothing new then.
        redriven: bool,
        message: Message,
    },
    /// What a conversation in memory does not know of the ids of `message`, its next event.
    Complete { conversation: ConversationId, loaded: Box<Loaded>, message: Message },
    /// The conversation's events of a range of the log.
    Reread {
        conversation: ConversationId,
        from: u64,
        to: u64,
        /// Of the record before `to`, which was taken in: proof of which log this is.
        last: Option<Fingerprint>,
        /// Only the first one: it is not known yet whether they can be judged.
        cold: bool,
        /// Everything up to here is out: the row of the hold says so first.
        out: Option<Seq>,
    },
    /// Saying that it is held.
    Hold(ConversationId, Hold),
    /// Saying that it is held no more.
    Heal(ConversationId, Hold),
    /// Looking later whether a conversation can be judged by then.
    Wait(ConversationId),
    /// So many of our holds from behind that conversation on.
    List(Option<ConversationId>, usize),
    /// Committing the position, once what was skipped before it is written.
    Commit(Position, BTreeMap<ConversationId, Hold>),
    /// A reader for going on, after a wait, if the log is the one that it was.
    Read { from: u64, last: Option<Fingerprint>, wait: Duration },
}

impl Errand {
    /// Who cannot go on before it is back.
    pub(crate) fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Open { conversation, .. }
            | Self::Complete { conversation, .. }
            | Self::Reread { conversation, .. } => Some(*conversation),
            Self::Hold(..) | Self::Heal(..) | Self::Wait(_) | Self::List(..) | Self::Commit(..) | Self::Read { .. } => {
                None
            }
        }
    }
}

/// What an errand brings back.
pub(crate) enum Brought {
    /// For a parked conversation.
    For(ConversationId, Found),
    /// Held conversations: fewer than this many when there are no more behind them.
    Holds(Vec<(ConversationId, Hold)>, usize),
    /// That position is committed.
    Committed(Position),
    /// The intake goes on with it.
    Reader(Box<dyn PartitionReader>),
}

/// What a parked conversation needs to go on.
#[derive(Debug)]
pub(crate) enum Found {
    /// As of the event before its first one, whose ids are in there, and what else was read for that.
    Ready(Box<Loaded>, Answers),
    /// We hold it ourselves: it has to be judged again from here.
    Redrive(Seq),
    /// Its first event is of no kind that this program knows, or one of its rows, or storage holds it.
    Held,
    /// An operator has dropped its first event.
    Dropped,
    /// Its events from the log.
    Reread(Reread),
    /// The row that says that we hold it is written.
    Holding(Hold),
    /// The row that says that nothing is skipped any more is written.
    Healed,
    /// It may be judged by now.
    Again,
}

/// Events of one conversation, read again.
#[derive(Debug)]
pub(crate) struct Reread {
    pub(crate) queue: VecDeque<Message>,
    /// The offset behind the last record looked at.
    pub(crate) next: u64,
    /// Whether that is as far as it was to be read.
    pub(crate) complete: bool,
}

/// The log, the store and the group, as errands of one partition reach them.
#[derive(Clone)]
pub(crate) struct Reach {
    deps: Arc<Deps>,
    source: Source,
    /// Of `chat.messages`.
    spec: &'static TopicSpec,
    committer: Arc<dyn Committer>,
    /// Who reads the log now.
    readers: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Reach {
    pub(crate) fn new(deps: Arc<Deps>, partition: u32, committer: Arc<dyn Committer>, stop: CancellationToken) -> Self {
        let (source, spec) = (Source { topic: MESSAGES, partition }, spec_of(MESSAGES));
        Self { deps, source, spec, committer, readers: Arc::new(Semaphore::new(REREADS_AT_ONCE)), stop }
    }

    /// The same for a follower, which stops with it and commits elsewhere. It shares the turns to read the log.
    pub(crate) fn following(&self, committer: Arc<dyn Committer>) -> Self {
        Self { committer, ..self.clone() }
    }

    /// The same for the last errand, once everything else is stopping.
    pub(crate) fn unstoppable(self) -> Self {
        Self { stop: CancellationToken::new(), ..self }
    }

    pub(crate) async fn run(self, errand: Errand) -> Result<Brought, FanoutError> {
        Ok(match errand {
            Errand::Open { conversation, redriven, message } => {
                let found = self.open(conversation, redriven, &message).await;
                Brought::For(conversation, self.unless_malformed(conversation, found)?)
            }
            Errand::Complete { conversation, loaded, message } => {
                let found = self.complete(conversation, loaded, &message).await;
                Brought::For(conversation, self.unless_malformed(conversation, found)?)
            }
            Errand::Reread { conversation, from, to, last, cold, out } => {
                if out.is_some() {
                    self.put_hold(conversation, Hold { skipped_to: None, done_through: out }).await?;
                }
                Brought::For(conversation, Found::Reread(self.reread(conversation, from, (to, last), cold).await?))
            }
            Errand::Hold(conversation, hold) => {
                self.put_hold(conversation, hold).await?;
                Brought::For(conversation, Found::Holding(hold))
            }
            Errand::Heal(conversation, hold) => {
                self.put_hold(conversation, hold).await?;
                Brought::For(conversation, Found::Healed)
            }
            Errand::Wait(conversation) => {
                sleep(HELD_AGAIN).await;
                Brought::For(conversation, Found::Again)
            }
            Errand::List(after, limit) => Brought::Holds(self.holds(after, limit).await?, limit),
            Errand::Commit(position, skips) => {
                self.put_holds(skips).await?;
                self.commit(&position).await?;
                Brought::Committed(position)
            }
            Errand::Read { from, last, wait } => {
                sleep(wait).await;
                Brought::Reader(place::reader(&self.deps, &self.at(), from, last, &self.stop).await?)
            }
        })
    }

    /// A conversation with a row that this program cannot read is held, as one with such an event: its neighbours go on.
    fn unless_malformed(
        &self,
        conversation: ConversationId,
        found: Result<Found, FanoutError>,
    ) -> Result<Found, FanoutError> {
        let Err(FanoutError::Store(StoreError::Malformed(row))) = found else { return found };
        self.deps.metrics.malformed.inc();
        tracing::error!(conversation_id = %conversation, %row, "a row is not of this program");
        Ok(Found::Held)
    }

    /// Opens a cold conversation for `message`, its next event: the own hold, then `applied`, then storage's hold, then
    /// the rows as of the event before.
    ///
    /// The order is the proof: storage writes rows, then holds, then `applied`. Whoever has seen `applied >= s - 1` and
    /// then no hold reads rows that are complete as of `s - 1`.
    async fn open(
        &self,
        conversation: ConversationId,
        redriven: bool,
        message: &Message,
    ) -> Result<Found, FanoutError> {
        let as_of = message.placed.seq.before().unwrap_or_default();
        if !redriven {
            let own = self.hold(Consumer::Fanout, conversation).await?;
            if own.is_held() {
                // Some of what is out by then may come again, and nothing is left out.
                return Ok(Found::Redrive(own.done_through.unwrap_or_default().next().min(message.placed.seq)));
            }
        }
        // An event is dropped only while it is held, so nobody else is asked about.
        if (redriven || !self.deps.knows(message)) && self.is_dropped(message).await? {
            return Ok(Found::Dropped);
        }
        if !self.deps.knows(message) || !self.applied(conversation, as_of).await? {
            return Ok(Found::Held);
        }
        self.deps.metrics.loads.inc();
        let time_ms = message.placed.append_time_ms;
        let loaded = self.store("load a conversation", |store| load(store, conversation, as_of, time_ms)).await?;
        self.read_ids(conversation, Box::new(loaded), message).await
    }

    /// Reads what `loaded` does not know of the ids of `message`, its next event.
    async fn complete(
        &self,
        conversation: ConversationId,
        loaded: Box<Loaded>,
        message: &Message,
    ) -> Result<Found, FanoutError> {
        if !self.applied(conversation, message.placed.seq.before().unwrap_or_default()).await? {
            return Ok(Found::Held);
        }
        self.read_ids(conversation, loaded, message).await
    }

    async fn read_ids(
        &self,
        conversation: ConversationId,
        mut loaded: Box<Loaded>,
        message: &Message,
    ) -> Result<Found, FanoutError> {
        let (as_of, mut answers) = (message.placed.seq.before().unwrap_or_default(), Answers::default());
        let Meaning::Event(event) = &message.meaning else { return Ok(Found::Ready(loaded, answers)) };
        loop {
            match loaded.facts(event, &answers) {
                Facts::Ready(_) => return Ok(Found::Ready(loaded, answers)),
                Facts::Read(id) => {
                    self.deps.metrics.id_reads.inc();
                    match self.store("read an id", |store| store.id(conversation, id, as_of)).await? {
                        Some(row) => loaded.ids.keep(id, row),
                        None => answers.absent.push(id),
                    }
                }
                Facts::ReadPast(past) => {
                    let author = event.author;
                    let read = self.store("read memberships", |store| store.memberships(conversation, author)).await?;
                    answers.learn(past, read, as_of);
                }
            }
        }
    }

    /// Waits until storage has come to `as_of`; says whether it goes on from there and does not hold the conversation.
    async fn applied(&self, conversation: ConversationId, as_of: Seq) -> Result<bool, FanoutError> {
        let source = self.source;
        let wait = || self.store("wait for storage", |store| store.wait_applied(source, as_of, APPLIED_WAIT));
        while !wait().await? {}
        Ok(!self.hold(Consumer::Storage, conversation).await?.is_held())
    }

    async fn is_dropped(&self, message: &Message) -> Result<bool, FanoutError> {
        if message.meaning == Meaning::Dropped {
            return Ok(false);
        }
        let partition = self.source.partition;
        let drops = self.store("read dropped events", |store| store.drops(partition)).await?;
        Ok(drops.iter().any(|dropped| dropped.seq == message.placed.seq))
    }

    async fn hold(&self, consumer: Consumer, conversation: ConversationId) -> Result<Hold, FanoutError> {
        let partition = self.source.partition;
        self.store("read a hold", |store| store.hold(consumer, partition, conversation)).await
    }

    async fn put_hold(&self, conversation: ConversationId, hold: Hold) -> Result<(), FanoutError> {
        let partition = self.source.partition;
        self.store("write a hold", |store| store.put_hold(Consumer::Fanout, partition, conversation, hold)).await
    }

    pub(crate) async fn put_holds(&self, holds: BTreeMap<ConversationId, Hold>) -> Result<(), FanoutError> {
        stream::iter(holds.into_iter().map(Ok))
            .try_for_each_concurrent(HOLDS_AT_ONCE, |(conversation, hold)| self.put_hold(conversation, hold))
            .await
    }

    /// Our holds from behind `after` on.
    async fn holds(
        &self,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, FanoutError> {
        let partition = self.source.partition;
        self.store("list holds", |store| store.holds(Consumer::Fanout, partition, after, limit)).await
    }

    /// Reads the log again for one conversation, up to `to` or to a bounded number of its events.
    async fn reread(
        &self,
        conversation: ConversationId,
        from: u64,
        (to, last): (u64, Option<Fingerprint>),
        cold: bool,
    ) -> Result<Reread, FanoutError> {
        let (at, events_max) = (self.at(), if cold { 1 } else { REREAD_EVENTS_MAX });
        let verify = || place::verify(&self.deps, &at, to, last, &self.stop);
        let open = |from| place::open(&self.deps, &at, from, &self.stop);
        let (mut queue, mut next) = (VecDeque::new(), from);
        let turn = self.readers.acquire().await;
        self.deps.metrics.rereads.inc();
        verify().await?;
        let mut reader = open(from).await?;
        while next < to && queue.len() < events_max && next < from.saturating_add(REREAD_RECORDS_MAX) {
            let records = match reader.next(BATCH_RECORDS_MAX).await {
                Ok(records) => records,
                Err(error) if error.is_transient() => {
                    verify().await?;
                    reader = open(next).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for record in records.iter().take_while(|record| record.offset < to) {
                if queue.len() == events_max {
                    break;
                }
                let message = self.message(record)?;
                queue.extend(Some(message).filter(|message| message.conversation == Some(conversation)));
                next = record.offset + 1;
            }
            // A gap in the offsets may reach beyond.
            if records.last().is_some_and(|last| last.offset >= to) && queue.len() < events_max {
                next = to;
            }
        }
        drop(turn);
        Ok(Reread { queue, next, complete: next >= to })
    }

    fn at(&self) -> TopicPartition {
        TopicPartition::new(MESSAGES, self.source.partition)
    }

    async fn commit(&self, position: &Position) -> Result<(), FanoutError> {
        let commits = [(self.at(), position.to_commit())];
        let commit = || self.committer.commit(&commits);
        Ok(insist("commit", &self.deps.entropy, &self.stop, CommitError::is_transient, commit).await?)
    }

    pub(crate) fn message(&self, record: &Record) -> Result<Message, FanoutError> {
        let (partition, TopicSpec { generation, partitions, .. }) = (self.source.partition, self.spec);
        Ok(Message::read(&self.deps.codec, *generation, partition, *partitions, record)?)
    }

    /// Calls the store until it answers; gives up only on what a retry cannot mend.
    async fn store<'s, T, F, R>(&'s self, what: &'static str, call: F) -> Result<T, FanoutError>
    where
        F: Fn(&'s dyn Store) -> R,
        R: Future<Output = Result<T, StoreError>> + 's,
    {
        let Deps { store, entropy, .. } = &*self.deps;
        Ok(insist(what, entropy, &self.stop, StoreError::is_transient, || call(&**store)).await?)
    }
}

#[cfg(test)]
mod tests {
    use domain::{Action, CommandId, Event, UserId};
    use eventlog::embedded::EmbeddedLog;
    use eventlog::{NewRecord, SharedLog, append};
    use events::Codec;
    use events::topics::spec_of;
    use host::{Clock, Entropy};
    use runtime::Metrics;
    use uuid::Uuid;

    use super::*;
    use crate::FanoutMetrics;

    /// A held conversation that nobody can heal costs one read in each pass, however long the log is behind it.
    #[tokio::test(start_paused = true)]
    async fn a_cold_conversation_is_read_only_up_to_where_it_has_events() {
        let (codec, clock, entropy) = (Codec::compiled_in(), Clock::from_fn(|| 0), Entropy::seeded(1));
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        let (spec, author) = (spec_of(MESSAGES), UserId::try_from(Uuid::nil()).unwrap());
        log.create(spec).await.unwrap();
        let conversation = ConversationId::direct(author, author);
        let partition = eventlog::partition_of(conversation.to_string().as_bytes(), spec.partitions);
        let (id, rules) = (CommandId::first_at(1), domain::RULES_NEWEST);
        let event = Event {
            id,
            conversation,
            author,
            received_ms: 0,
            rules,
            key_id: None,
            looked_up: true,
            action: Action::Leave,
        };
        for number in 0..1_200 {
            let encoded = if number % 600 == 0 { codec.event(&event) } else { codec.tick() };
            let (headers, payload) = (encoded.headers, encoded.payload);
            let key = conversation.to_string();
            append(&*log, MESSAGES, NewRecord { key, partition: Some(partition), headers, payload }).await.unwrap();
        }
        let store = store::embedded::EmbeddedStore::open(kv::Database::in_memory(), clock).await.unwrap();
        let deps = Arc::new(Deps::new(log, store, codec, entropy, FanoutMetrics::new(&Metrics::new())));
        let committer = deps.log.join("nobody", &[MESSAGES]).await.unwrap().committer().into();
        let reach = Reach::new(deps, partition, committer, CancellationToken::new());
        let read = |from, cold| reach.reread(conversation, from, (1_190, None), cold);
        let found = |read: Reread| (read.queue.len(), read.next, read.complete);
        assert_eq!(found(read(0, true).await.unwrap()), (1, 1, false));
        assert_eq!(found(read(1, true).await.unwrap()), (1, 601, false));
        assert_eq!(found(read(601, true).await.unwrap()), (0, 1_190, true));
        assert_eq!(found(read(0, false).await.unwrap()), (2, 1_190, true));
    }
}
