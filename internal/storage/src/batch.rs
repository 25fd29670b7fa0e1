//! A batch of records: loads cold conversations, judges event by event, and writes.

use std::collections::BTreeMap;

use consumer::{ConsumerError, NotJudged, judge, read_facts};
use domain::{Appended, ConversationId, Decision, Effects, Event, Seq};
use environment::seeded_bugs::{Bug, seeded};
use eventlog::{DecodedRecord, Meaning, Record};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use store::{Applied, CacheEntry, Consumer, FactsLookup, Hold, Loaded, Malformed, StoreError, load};

use crate::StorageError;
use crate::partition::Partition;
use crate::pending::{EventWrites, Pending};

/// Conversations that are loaded at once.
const LOADS_AT_ONCE: usize = 64;

/// The writes of a batch.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) cells: Pending,
    /// Holds to raise, by conversation: after the cells, before `applied`.
    pub(crate) holds: BTreeMap<ConversationId, Hold>,
}

/// A cold conversation.
enum Opened {
    Ready(Box<Loaded>),
    /// It is held already.
    Held,
    /// It cannot be loaded by this program.
    Malformed,
}

/// The result of judging an event.
pub(crate) enum Judged {
    /// The event's writes; there may be none.
    Writes(EventWrites),
    /// This program cannot judge it, for that reason.
    Not(String),
}

impl Partition {
    /// Judges a batch, and writes what it leads to.
    pub(crate) async fn judge_and_write(&mut self, records: &[Record], applied: Applied) -> Result<(), StorageError> {
        let mut messages = Vec::with_capacity(records.len());
        for record in records {
            messages.push(self.message(record)?);
        }
        let mut written = Written { holds: self.load_cold(&messages).await?, ..Written::default() };
        for (message, record) in messages.iter().zip(records) {
            self.judge_one(message, record, &mut written).await?;
        }
        if !written.holds.is_empty() {
            self.flush(written).await?;
            return self.set_applied(applied).await;
        }
        let (writes, source) = (written.cells.into_writes(), self.access.source());
        self.deps.metrics.rows.inc_by(writes.len() as u64);
        let written = self.access.store("write rows", |store| store.write_and_apply(writes.clone(), source, applied));
        Ok(written.await?)
    }

    /// Loads the conversations that are not in memory, together, as of `applied`. Returns those that are held from
    /// there on.
    async fn load_cold(&mut self, messages: &[DecodedRecord]) -> Result<BTreeMap<ConversationId, Hold>, StorageError> {
        let mut cold: BTreeMap<ConversationId, i64> = BTreeMap::new();
        for message in messages {
            if let Some(conversation) = message.conversation
                && !self.cache.contains(conversation)
            {
                cold.entry(conversation).or_insert(message.appended.append_time_ms);
            }
        }
        let as_of = self.applied.unwrap_or_default();
        let this = &*self;
        let opened: Vec<(ConversationId, Opened)> = stream::iter(cold)
            .map(|(conversation, time_ms)| async move {
                Ok::<_, StorageError>((conversation, this.open(conversation, as_of, time_ms).await?))
            })
            .buffer_unordered(LOADS_AT_ONCE)
            .try_collect()
            .await?;
        let mut begun = BTreeMap::new();
        for (conversation, opened) in opened {
            let slot = match opened {
                Opened::Ready(loaded) => CacheEntry::Ready(loaded),
                // Tried again from where it stopped, but behind this batch: the other conversations must not wait for
                // it.
                Opened::Held => {
                    self.redrives.add(conversation);
                    CacheEntry::Held
                }
                Opened::Malformed => {
                    self.deps.metrics.holds.inc();
                    let done = if seeded(Bug::MalformedHeldTooLate) { as_of.next() } else { as_of };
                    begun.insert(conversation, Hold { skipped_to: None, done_through: Some(done) });
                    CacheEntry::Held
                }
            };
            self.cache.put(conversation, slot);
        }
        Ok(begun)
    }

    /// Opens the conversation as of `as_of`.
    async fn open(&self, conversation: ConversationId, as_of: Seq, time_ms: i64) -> Result<Opened, StorageError> {
        let hold = self.read_hold(conversation).await?;
        // Events at or below `done_through` are never skipped, whatever the row says: this is a replay of them.
        if hold.is_held() && hold.done_through < Some(as_of) {
            return Ok(Opened::Held);
        }
        Ok(self.load(conversation, as_of, time_ms).await?.map_or(Opened::Malformed, Opened::Ready))
    }

    /// `None` when this program cannot read one of its rows, because a newer one has written it or it is damaged. That
    /// is a reason to hold this conversation, and not to end the program.
    pub(crate) async fn load(
        &self,
        conversation: ConversationId,
        as_of: Seq,
        time_ms: i64,
    ) -> Result<Option<Box<Loaded>>, StorageError> {
        self.deps.metrics.loads.inc();
        let loaded = self.access.store("load a conversation", |store| load(store, conversation, as_of, time_ms));
        match loaded.await {
            Ok(loaded) => Ok(Some(Box::new(loaded))),
            Err(ConsumerError::Store(StoreError::Malformed(row))) => {
                self.malformed(conversation, &row);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn malformed(&self, conversation: ConversationId, row: &Malformed) {
        self.deps.metrics.malformed.inc();
        tracing::error!(conversation_id = %conversation, %row, "a row is not of this program: conversation held");
    }

    pub(crate) async fn read_hold(&self, conversation: ConversationId) -> Result<Hold, ConsumerError> {
        self.access.hold(Consumer::Storage, conversation).await
    }

    async fn judge_one(
        &mut self,
        message: &DecodedRecord,
        record: &Record,
        written: &mut Written,
    ) -> Result<(), StorageError> {
        // Also under a hold: it stays corrupt for every later program.
        if let Meaning::Corrupt(reason) = &message.meaning {
            self.quarantine(record, reason).await;
        }
        let (Some(conversation), seq) = (message.conversation, message.appended.seq) else { return Ok(()) };
        let slot = self.cache.take(conversation).expect("load_cold has loaded every conversation of the batch");
        let CacheEntry::Ready(mut loaded) = slot else {
            self.deps.metrics.skipped.inc();
            written.holds.entry(conversation).or_default().skipped_to = Some(seq);
            self.cache.put(conversation, CacheEntry::Held);
            return Ok(());
        };
        let unknown = match &message.meaning {
            Meaning::Marker | Meaning::Corrupt(_) | Meaning::Dropped => None,
            Meaning::Unknown(what) => Some(what.clone()),
            Meaning::Event(event) => match self.judge(&mut loaded, event, message.appended, &written.cells).await? {
                Judged::Writes(writes) => {
                    written.cells.add(conversation, writes);
                    None
                }
                Judged::Not(what) => Some(what),
            },
        };
        if let Some(what) = unknown {
            tracing::warn!(conversation_id = %conversation, %seq, what, "conversation held");
            self.deps.metrics.holds.inc();
            written.holds.insert(conversation, Hold { skipped_to: Some(seq), done_through: seq.before() });
            self.cache.put(conversation, CacheEntry::Held);
        } else {
            self.cache.put(conversation, CacheEntry::Ready(loaded));
        }
        Ok(())
    }

    /// Judges one event, with facts as of the event before, and applies it to `loaded`; drop `loaded` on failure. Facts
    /// from rows that are not written yet are among the `pending`.
    pub(crate) async fn judge(
        &self,
        loaded: &mut Loaded,
        event: &Event,
        appended: Appended,
        pending: &Pending,
    ) -> Result<Judged, StorageError> {
        let conversation = event.conversation;
        let unwritten = || pending.memberships(conversation, event.author).collect();
        let read = read_facts(&self.access, loaded, (event, appended), unwritten, &self.deps.metrics.id_reads);
        let answers = match read.await {
            Ok(answers) => answers,
            Err(ConsumerError::Store(StoreError::Malformed(row))) => {
                self.malformed(conversation, &row);
                return Ok(Judged::Not(row.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let FactsLookup::Ready(facts) = loaded.facts(event, &answers) else { unreachable!("all of them were read") };
        let writes = |effects: Effects| (effects.decision, EventWrites::of(event, appended, &effects));
        let (decision, writes) = match judge(loaded, (event, appended), &facts, self.deps.rules_newest, writes) {
            Ok(judged) => judged,
            Err(NotJudged::Rules(version)) => return Ok(Judged::Not(format!("rules version {version}: upgrade"))),
            Err(NotJudged::Panicked) => {
                self.deps.metrics.panics.inc();
                return Ok(Judged::Not("a bug of this program".into()));
            }
        };
        self.deps.metrics.events.inc();
        if let Decision::Refused(refusal) = decision {
            tracing::debug!(conversation_id = %conversation, seq = %appended.seq, reason = refusal.name(), "event refused");
        }
        Ok(Judged::Writes(writes))
    }

    /// Writes rows first, then holds: a hold says that everything before it is there.
    pub(crate) async fn flush(&self, written: Written) -> Result<(), StorageError> {
        let writes = written.cells.into_writes();
        if !writes.is_empty() {
            self.deps.metrics.rows.inc_by(writes.len() as u64);
            self.access.store("write rows", |store| store.write(writes.clone())).await?;
        }
        for (conversation, hold) in written.holds {
            self.put_hold(conversation, hold).await?;
        }
        Ok(())
    }

    pub(crate) async fn put_hold(&self, conversation: ConversationId, hold: Hold) -> Result<(), ConsumerError> {
        self.access.put_hold(Consumer::Storage, conversation, hold).await
    }

    /// Copies a corrupt record to the quarantine.
    async fn quarantine(&mut self, record: &Record, reason: &str) {
        self.deps.metrics.corrupt.inc();
        self.access.quarantine(&mut self.quarantine, record, reason).await;
    }
}
