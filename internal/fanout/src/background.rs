//! The background requests of a partition: the loop starts them and never waits for them itself. They ask the store and
//! the group, and read the log anew or again.
//!
//! A request is retried until it is answered, through any outage, while the loop goes on delivering; so a conversation
//! only waits for its own facts. A conversation has one request at a time, and is parked until that is answered.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use consumer::{BATCH_RECORDS_MAX, ConsumerError, PartitionAccess, read_facts};
use domain::{ConversationId, Fingerprint, Seq};
use eventlog::{CommitError, Committer, DecodedRecord, Meaning};
use futures_util::stream::{self, FuturesUnordered, TryStreamExt};
use process::retry_until_stopped;
use store::{Answers, Consumer, Hold, Loaded, StoreError, load};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::judge::knows;
use crate::position::{Position, before};
use crate::request::{Found, OwnHold, Reply, Request, Reread};
use crate::{Deps, FanoutError};

/// How long one wait for `applied` lasts before the store is asked anew.
const APPLIED_WAIT: Duration = Duration::from_secs(5);
/// Requests of a partition that read the log at the same time.
const REREADS_AT_ONCE: usize = 2;
/// Events of one conversation that are read again at once.
const REREAD_EVENTS_MAX: usize = 500;
/// Records that one request reads, about: then the loop judges what was found.
const REREAD_RECORDS_MAX: u64 = 20 * BATCH_RECORDS_MAX as u64;
/// Rows of holds that are written at once.
const HOLDS_AT_ONCE: usize = 64;

/// The requests in progress.
pub(crate) type Requests = FuturesUnordered<Pin<Box<dyn Future<Output = Result<Reply, FanoutError>> + Send>>>;

/// The log, the store and the group, as the requests of one partition use them.
#[derive(Clone)]
pub(crate) struct Background {
    deps: Arc<Deps>,
    pub(crate) access: PartitionAccess,
    committer: Arc<dyn Committer>,
    /// Permits to read the log again.
    readers: Arc<Semaphore>,
}

impl Background {
    pub(crate) fn new(deps: Arc<Deps>, access: PartitionAccess, committer: Arc<dyn Committer>) -> Self {
        Self { deps, access, committer, readers: Arc::new(Semaphore::new(REREADS_AT_ONCE)) }
    }

    /// The same for a follower, which stops with it and commits elsewhere. Both share the permits to read the log.
    pub(crate) fn following(&self, committer: Arc<dyn Committer>) -> Self {
        Self { committer, ..self.clone() }
    }

    /// The same for the last request, after everything else was told to stop.
    pub(crate) fn unstoppable(self) -> Self {
        let access = PartitionAccess { stop: CancellationToken::new(), ..self.access };
        Self { access, ..self }
    }

    pub(crate) async fn run(self, request: Request) -> Result<Reply, FanoutError> {
        Ok(match request {
            Request::Open { conversation, own_hold, message } => {
                let found = self.open(conversation, own_hold, &message).await;
                Reply::For(conversation, self.unless_malformed(conversation, found)?)
            }
            Request::Complete { conversation, loaded, message } => {
                let found = self.complete(conversation, loaded, &message).await;
                Reply::For(conversation, self.unless_malformed(conversation, found)?)
            }
            Request::Reread { conversation, from, to, last, cold, out } => {
                if out.is_some() {
                    // Still held, also when its last skipped event is delivered: what was taken in since is not.
                    let skipped_to = Some(self.access.seq(to)?.before().unwrap_or_default());
                    self.put_hold(conversation, Hold { skipped_to, done_through: out }).await?;
                }
                Reply::For(conversation, Found::Reread(self.reread(conversation, from, (to, last), cold).await?))
            }
            Request::Hold(conversation, hold) => {
                self.put_hold(conversation, hold).await?;
                Reply::For(conversation, Found::Holding(hold))
            }
            Request::Heal(conversation, hold) => {
                self.put_hold(conversation, hold).await?;
                Reply::For(conversation, Found::Healed)
            }
            Request::Wait(conversation, wait) => {
                sleep(wait).await;
                Reply::For(conversation, Found::Again)
            }
            Request::List(after, limit) => {
                Reply::Holds(self.access.holds(Consumer::Fanout, after, limit).await?, limit)
            }
            Request::Commit(position, skips) => {
                self.put_holds(skips).await?;
                self.commit(&position).await?;
                Reply::Committed(position)
            }
            Request::Read { from, last, wait } => {
                sleep(wait).await;
                Reply::Reader(self.access.reader(from, before(from, last)).await?)
            }
        })
    }

    /// A conversation with a row that this program cannot read is held, like one with such an event; the others go on.
    fn unless_malformed(
        &self,
        conversation: ConversationId,
        found: Result<Found, ConsumerError>,
    ) -> Result<Found, ConsumerError> {
        let Err(ConsumerError::Store(StoreError::Malformed(row))) = found else { return found };
        self.deps.metrics.malformed.inc();
        tracing::error!(conversation_id = %conversation, %row, "a row is not of this program");
        Ok(Found::Held)
    }

    /// Opens a cold conversation for `message`, its next event: reads the fan-out's own hold, then `applied`, then
    /// storage's hold, then the rows as of the event before.
    ///
    /// The order is the proof: storage writes rows, then holds, then `applied`. A reader that has seen `applied >= s -
    /// 1` and then no hold reads rows that are complete as of `s - 1`.
    async fn open(
        &self,
        conversation: ConversationId,
        own_hold: OwnHold,
        message: &DecodedRecord,
    ) -> Result<Found, ConsumerError> {
        let (seq, as_of) = (message.appended.seq, message.appended.seq.before().unwrap_or_default());
        if own_hold != OwnHold::Redriven {
            let own = self.access.hold(Consumer::Fanout, conversation).await?;
            match own_hold {
                // Some of what was delivered already may be delivered again, and nothing is left out.
                OwnHold::Unknown if own.is_held() => {
                    return Ok(Found::Redrive(own.done_through.unwrap_or_default().next().min(seq)));
                }
                OwnHold::Followed if own.is_held() && own.done_through < Some(seq) => {
                    let skipped_to = own.skipped_to.filter(|skipped_to| *skipped_to >= seq);
                    return Ok(skipped_to.map_or(Found::NotWritten, Found::Skipped));
                }
                OwnHold::Unknown | OwnHold::Followed | OwnHold::Redriven => {}
            }
        }
        // An event can only be dropped while it is held, so others need no look-up.
        if (own_hold != OwnHold::Unknown || !self.knows(message)) && self.is_dropped(message).await? {
            return Ok(Found::Dropped);
        }
        if !self.knows(message) || !self.applied(conversation, as_of).await? {
            return Ok(Found::Held);
        }
        self.deps.metrics.loads.inc();
        let time_ms = message.appended.append_time_ms;
        let loaded =
            self.access.store("load a conversation", |store| load(store, conversation, as_of, time_ms)).await?;
        self.read_ids(Box::new(loaded), message).await
    }

    /// Reads the ids of `message`, the next event, that `loaded` does not know.
    async fn complete(
        &self,
        conversation: ConversationId,
        loaded: Box<Loaded>,
        message: &DecodedRecord,
    ) -> Result<Found, ConsumerError> {
        if !self.applied(conversation, message.appended.seq.before().unwrap_or_default()).await? {
            return Ok(Found::Held);
        }
        self.read_ids(loaded, message).await
    }

    fn knows(&self, message: &DecodedRecord) -> bool {
        knows(message, self.deps.rules_newest)
    }

    async fn read_ids(&self, mut loaded: Box<Loaded>, message: &DecodedRecord) -> Result<Found, ConsumerError> {
        let Meaning::Event(event) = &message.meaning else { return Ok(Found::Ready(loaded, Answers::default())) };
        let (event, id_reads) = ((&**event, message.appended), &self.deps.metrics.id_reads);
        let answers = read_facts(&self.access, &mut loaded, event, Vec::new, id_reads).await?;
        Ok(Found::Ready(loaded, answers))
    }

    /// Waits until storage has come to `as_of`; returns whether it goes on from there. An event that storage holds is held
    /// here, too; those before it are not, and their rows are complete.
    async fn applied(&self, conversation: ConversationId, as_of: Seq) -> Result<bool, ConsumerError> {
        let source = self.access.source();
        let wait = || self.access.store("wait for storage", |store| store.wait_applied(source, as_of, APPLIED_WAIT));
        while !wait().await? {}
        let hold = self.access.hold(Consumer::Storage, conversation).await?;
        Ok(!hold.is_held() || hold.done_through > Some(as_of))
    }

    async fn is_dropped(&self, message: &DecodedRecord) -> Result<bool, ConsumerError> {
        if message.meaning == Meaning::Dropped {
            return Ok(false);
        }
        Ok(self.access.drops().await?.contains(&message.appended.seq))
    }

    async fn put_hold(&self, conversation: ConversationId, hold: Hold) -> Result<(), ConsumerError> {
        self.access.put_hold(Consumer::Fanout, conversation, hold).await
    }

    pub(crate) async fn put_holds(&self, holds: BTreeMap<ConversationId, Hold>) -> Result<(), ConsumerError> {
        stream::iter(holds.into_iter().map(Ok))
            .try_for_each_concurrent(HOLDS_AT_ONCE, |(conversation, hold)| self.put_hold(conversation, hold))
            .await
    }

    /// Reads the log again for one conversation, up to `to` or to a bounded number of its events.
    async fn reread(
        &self,
        conversation: ConversationId,
        from: u64,
        (to, last): (u64, Option<Fingerprint>),
        cold: bool,
    ) -> Result<Reread, ConsumerError> {
        let (events_max, last) = (if cold { 1 } else { REREAD_EVENTS_MAX }, before(to, last));
        let (mut queue, mut next) = (VecDeque::new(), from);
        let turn = self.readers.acquire().await;
        self.deps.metrics.rereads.inc();
        let mut reader = self.access.reader(from, last).await?;
        while next < to && queue.len() < events_max && next < from.saturating_add(REREAD_RECORDS_MAX) {
            let records = match reader.next(BATCH_RECORDS_MAX).await {
                Ok(records) => records,
                Err(error) if error.is_transient() => {
                    reader = self.access.reader(next, last).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for record in records.iter().take_while(|record| record.offset < to) {
                if queue.len() == events_max {
                    break;
                }
                let message = self.access.message(record)?;
                queue.extend(Some(message).filter(|message| message.conversation == Some(conversation)));
                next = record.offset + 1;
            }
            // A gap in the offsets may reach beyond the end.
            if records.last().is_some_and(|last| last.offset >= to) && queue.len() < events_max {
                next = to;
            }
        }
        drop(turn);
        Ok(Reread { queue, next, complete: next >= to })
    }

    async fn commit(&self, position: &Position) -> Result<(), FanoutError> {
        let (commits, PartitionAccess { seams, stop, .. }) =
            ([(self.access.at.clone(), position.to_commit())], &self.access);
        let commit = || self.committer.commit(&commits);
        Ok(retry_until_stopped("commit", &seams.entropy, stop, CommitError::is_transient, commit).await?)
    }
}

#[cfg(test)]
mod tests {
    use domain::kinds::Leave;
    use domain::{Action, CommandId, Event, UserId};
    use environment::{Clock, Entropy};
    use eventlog::embedded::EmbeddedLog;
    use eventlog::{NewRecord, SharedLog, TopicPartition, append};
    use events::Codec;
    use events::topics::{MESSAGES, spec_of};
    use process::Metrics;
    use uuid::Uuid;

    use super::*;
    use crate::FanoutMetrics;

    /// The background of partition 0 on an empty log, with storage far ahead, and a conversation.
    async fn alone() -> (Background, ConversationId) {
        let (codec, clock, entropy) = (Codec::compiled_in(), Clock::from_fn(|| 0), Entropy::seeded(1));
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        log.create(spec_of(MESSAGES)).await.unwrap();
        let author = UserId::try_from(Uuid::nil()).unwrap();
        let conversation = ConversationId::direct(author, author);
        let store = store::embedded::EmbeddedStore::open(kv::Database::in_memory(), clock).await.unwrap();
        let deps = Arc::new(Deps::new(log.clone(), store, codec, entropy, FanoutMetrics::new(&Metrics::new())));
        let committer = log.join("nobody", &[MESSAGES]).await.unwrap().committer().into();
        let at = TopicPartition::new(MESSAGES, 0);
        let access = PartitionAccess::new(deps.seams.clone(), at, CancellationToken::new());
        let background = Background::new(deps, access, committer);
        let source = background.access.source();
        let applied = store::Applied { seq: Seq::new(0, 100).unwrap(), fingerprint: Fingerprint(0) };
        background.access.store("tell", |store| store.set_applied(source, applied)).await.unwrap();
        (background, conversation)
    }

    /// What is held is delivered by whoever holds it, later, and to every delivery partition: devices that had a later
    /// event from a follower before would drop it.
    #[tokio::test(start_paused = true)]
    async fn a_follower_goes_on_with_what_is_held_only_behind_it() {
        let (background, conversation) = alone().await;
        let seq = |offset| Seq::new(0, offset).unwrap();
        let hold = Hold { skipped_to: Some(seq(60)), done_through: Some(seq(9)) };
        background.put_hold(conversation, hold).await.unwrap();

        let at = async |offset| {
            let appended = domain::Appended { seq: seq(offset), append_time_ms: 0 };
            let (meaning, fingerprint) = (Meaning::Dropped, Fingerprint(0));
            let message =
                DecodedRecord { appended, fingerprint, conversation: Some(conversation), meaning, trace: None };
            background.open(conversation, OwnHold::Followed, &message).await.unwrap()
        };
        assert!(matches!(at(60).await, Found::Skipped(to) if to == seq(60)));
        assert!(matches!(at(61).await, Found::NotWritten), "the loop that it follows has not come there");
        assert!(matches!(at(9).await, Found::Ready(..)), "that is out");
        background.put_hold(conversation, Hold { skipped_to: None, done_through: Some(seq(100)) }).await.unwrap();
        assert!(matches!(at(60).await, Found::Ready(..)), "it is healed");

        // Storage's rows are complete up to where its hold begins.
        let hold = Hold { skipped_to: Some(seq(90)), done_through: Some(seq(80)) };
        background.access.put_hold(Consumer::Storage, conversation, hold).await.unwrap();
        assert!(matches!(at(80).await, Found::Ready(..)));
        assert!(matches!(at(81).await, Found::Held), "that is the event at which storage holds it");
    }

    /// The last event that was skipped may be delivered long before the ones that came since.
    #[tokio::test(start_paused = true)]
    async fn a_re_driven_conversation_stays_held_until_it_is_healed() {
        let (background, conversation) = alone().await;
        let seq = |offset| Seq::new(0, offset).unwrap();
        let held = Hold { skipped_to: Some(seq(60)), done_through: Some(seq(9)) };
        background.put_hold(conversation, held).await.unwrap();
        let (from, to, out) = (61, 100, Some(seq(60)));
        let request = Request::Reread { conversation, from, to, last: None, cold: false, out };
        // The row is written first; there is nothing to read.
        assert!(background.clone().run(request).await.is_err());
        let hold = background.access.hold(Consumer::Fanout, conversation).await.unwrap();
        assert_eq!(hold, Hold { skipped_to: Some(seq(99)), done_through: Some(seq(60)) });
    }

    /// A held conversation that cannot be healed costs one read in each pass, however long the log is behind it.
    #[tokio::test(start_paused = true)]
    async fn a_cold_conversation_is_read_only_up_to_where_it_has_events() {
        let (codec, clock, entropy) = (Codec::compiled_in(), Clock::from_fn(|| 0), Entropy::seeded(1));
        let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        let (spec, author) = (spec_of(MESSAGES), UserId::try_from(Uuid::nil()).unwrap());
        log.create(spec).await.unwrap();
        let conversation = ConversationId::direct(author, author);
        let partition = eventlog::partition_of_id(conversation.uuid(), spec.partitions);
        let (id, rules) = (CommandId::first_at(1), domain::RULES_NEWEST);
        let event = Event {
            id,
            conversation,
            author,
            received_ms: 0,
            rules,
            key_id: None,
            looked_up: true,
            action: Action::Leave(Leave),
        };
        for number in 0..1_200 {
            let encoded = if number % 600 == 0 { codec.event(&event) } else { codec.tick() };
            let (headers, payload) = (encoded.headers, encoded.payload);
            let key = conversation.to_string();
            append(&*log, MESSAGES, NewRecord { key, partition: Some(partition), headers, payload }).await.unwrap();
        }
        let store = store::embedded::EmbeddedStore::open(kv::Database::in_memory(), clock).await.unwrap();
        let deps = Arc::new(Deps::new(log.clone(), store, codec, entropy, FanoutMetrics::new(&Metrics::new())));
        let committer = log.join("nobody", &[MESSAGES]).await.unwrap().committer().into();
        let at = TopicPartition::new(MESSAGES, partition);
        let access = PartitionAccess::new(deps.seams.clone(), at, CancellationToken::new());
        let background = Background::new(deps, access, committer);
        let read = |from, cold| background.reread(conversation, from, (1_190, None), cold);
        let found = |read: Reread| (read.queue.len(), read.next, read.complete);
        assert_eq!(found(read(0, true).await.unwrap()), (1, 1, false));
        assert_eq!(found(read(1, true).await.unwrap()), (1, 601, false));
        assert_eq!(found(read(601, true).await.unwrap()), (0, 1_190, true));
        assert_eq!(found(read(0, false).await.unwrap()), (2, 1_190, true));
    }
}
