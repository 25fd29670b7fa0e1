//! One partition of `chat.receipts`: read marks to rows. Marks are monotone, so order does not matter and nothing is
//! judged.
//!
//! A mark of a schema that this program does not know is held, by its conversation, until a program does. Other marks
//! of that conversation go on, since no mark depends on another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consumer::{BATCH_RECORDS_MAX, ConsumerError, PartitionAccess, key_of};
use domain::{ConversationId, Fingerprint, Seq, UserId};
use environment::seeded_bugs::Bug;
use eventlog::consume::Outcome;
use eventlog::{Assigned, Committer, PatientReader, Quarantine, Record, TopicPartition};
use events::topics::RECEIPTS;
use events::{DecodeError, ReadMark};
use process::{Age, TopicLabel};
use store::{Applied, Consumer, Hold, Mark, Row};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::metrics::behind;
use crate::replay::{Replay, replay_range};
use crate::{Deps, Replayed, StorageError, lag_commits};

/// How often held marks are tried again.
const HOLDS_EVERY: Duration = Duration::from_secs(60);
/// Conversations with held marks that are tried together; the next ones follow a minute later.
const HOLDS_AT_ONCE: usize = 100;
/// Records that one try reads, about.
const LOOK_RECORDS_MAX: u64 = 20 * BATCH_RECORDS_MAX as u64;

/// The highest mark of each user in each conversation.
type Marks = BTreeMap<(UserId, ConversationId), Mark>;

pub(crate) async fn run(
    deps: Arc<Deps>,
    assigned: Assigned,
    committer: Arc<dyn Committer>,
    stop: CancellationToken,
) -> Outcome {
    let mut receipts = Receipts::new(deps, assigned.at, stop);
    StorageError::outcome(receipts.consume(&*committer).await)
}

/// Applies `from..to` of one partition of `chat.receipts` again, as [`crate::replay`] does with messages.
///
/// # Errors
/// As [`crate::replay`].
pub async fn replay_marks(
    deps: Arc<Deps>,
    partition: u32,
    from: u64,
    to: u64,
    stop: CancellationToken,
    progress: impl FnMut(Replayed) + Send,
) -> Result<Replayed, StorageError> {
    let at = TopicPartition::new(RECEIPTS, partition);
    let mut receipts = Receipts::new(deps, at.clone(), stop);
    receipts.resume().await?;
    let applied = receipts.next.checked_sub(1);
    if from > receipts.next {
        return Err(StorageError::Gap { at, from, applied });
    }
    let (log, proof) = (Arc::clone(&receipts.access.seams.log), receipts.proof());
    let (reader, stop) = (PatientReader::new(&*log, at, from, proof), receipts.access.stop.clone());
    replay_range(&mut receipts, reader, from..to, &stop, progress).await
}

impl Replay for Receipts {
    async fn apply_again(&mut self, records: &[Record]) -> Result<(), StorageError> {
        self.apply(records).await
    }
}

struct Receipts {
    deps: Arc<Deps>,
    access: PartitionAccess,
    next: u64,
    /// The last record that was applied, as proof of which log this is.
    last: Option<Applied>,
    quarantine: Quarantine,
    /// The last conversation whose held marks were tried again.
    looked_at: Option<ConversationId>,
    /// Since when a mark waits, for the metrics.
    lag: Age,
}

impl Receipts {
    fn new(deps: Arc<Deps>, at: TopicPartition, stop: CancellationToken) -> Self {
        let access = PartitionAccess::new(deps.seams.clone(), at, stop);
        let lag = deps.metrics.marks_lag.of(TopicLabel { topic: RECEIPTS });
        Self { deps, access, next: 0, last: None, quarantine: Quarantine::default(), looked_at: None, lag }
    }

    /// The offset and fingerprint of the last record that was applied.
    fn proof(&self) -> Option<(u64, Fingerprint)> {
        self.last.map(|last| (last.seq.offset(), last.fingerprint))
    }

    async fn consume(&mut self, committer: &dyn Committer) -> Result<(), StorageError> {
        self.resume().await?;
        let ended = self.work().await;
        if let Ok(()) | Err(StorageError::Consumer(ConsumerError::Stopped)) = ended {
            lag_commits::commit_last(&self.access.at, committer, self.next).await;
        }
        ended
    }

    async fn work(&mut self) -> Result<(), StorageError> {
        let mut holds = interval(HOLDS_EVERY);
        holds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut reader = self.access.open(self.next).await?;
            loop {
                let records = tokio::select! {
                    biased;
                    () = self.access.stop.cancelled() => return Ok(()),
                    // The first tick comes at once, so a new owner tries the held marks.
                    _ = holds.tick() => {
                        self.look_at_holds().await?;
                        continue;
                    }
                    records = reader.next(BATCH_RECORDS_MAX) => records,
                };
                match records {
                    Ok(records) => self.store(&records).await?,
                    Err(error) if error.is_transient() => break,
                    Err(error) => return Err(ConsumerError::Log(error).into()),
                }
            }
            self.access.verify(self.proof()).await?;
        }
    }

    /// Applies a batch, and says meanwhile since when it waits.
    async fn store(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let Some(first) = records.first() else { return Ok(()) };
        self.lag.since(Some(first.append_time_ms));
        self.apply(records).await?;
        self.lag.since(behind(records));
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), StorageError> {
        let source = self.access.source();
        self.last = self.access.store("read applied", |store| store.applied(source)).await?;
        self.next = self.last.map_or(0, |last| last.seq.offset() + 1);
        Ok(self.access.verify(self.proof()).await?)
    }

    /// Applies the records; those that this program does not know are held.
    async fn apply(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let Some(last) = records.last() else { return Ok(()) };
        let (mut marks, mut held) = (Marks::new(), BTreeMap::<ConversationId, (Seq, Seq)>::new());
        for record in records {
            let reason = match (self.access.seams.codec.read_receipt(&record.headers, &record.payload), key_of(record))
            {
                (Ok(read), _) => {
                    add(&mut marks, read);
                    continue;
                }
                (Err(DecodeError::UnknownSchema(schema)), Some(conversation)) => {
                    let (offset, partition) = (record.offset, &self.access.at);
                    tracing::warn!(%partition, offset, conversation_id = %conversation, schema, "a read mark is held");
                    let seq = self.seq(record)?;
                    held.entry(conversation).or_insert((seq, seq)).1 = seq;
                    continue;
                }
                (Err(DecodeError::Corrupt(reason)), _) => reason,
                (Err(DecodeError::UnknownSchema(_)), None) => "its key is no conversation".to_owned(),
            };
            self.deps.metrics.corrupt.inc();
            self.access.quarantine(&mut self.quarantine, record, &reason).await;
        }
        for (conversation, span) in held {
            self.deps.metrics.holds.inc();
            self.access.hold_span(Consumer::Marks, conversation, span).await?;
        }
        self.write(marks, last).await
    }

    /// Tries some of the held marks again.
    async fn look_at_holds(&mut self) -> Result<(), StorageError> {
        let held = self.access.holds(Consumer::Marks, self.looked_at, HOLDS_AT_ONCE).await?;
        let more = held.len() == HOLDS_AT_ONCE;
        self.looked_at = held.last().map(|(conversation, _)| *conversation).filter(|_| more);
        for (conversation, hold) in held {
            self.look_at(conversation, hold).await?;
        }
        Ok(())
    }

    /// Applies the held marks of one conversation, up to the first that is still unknown.
    async fn look_at(&self, conversation: ConversationId, hold: Hold) -> Result<(), StorageError> {
        let Some(to) = hold.skipped_to else { return Ok(()) };
        let first = hold.done_through.unwrap_or_default().next();
        let (mut marks, mut done) = (Marks::new(), hold.done_through);
        let mut reader = self.access.open(first.offset()).await?;
        'look: while done < Some(to) && done.map_or(0, |done| done.offset()) < first.offset() + LOOK_RECORDS_MAX {
            let records = tokio::select! {
                biased;
                () = self.access.stop.cancelled() => return Err(StorageError::Consumer(ConsumerError::Stopped)),
                records = reader.next(BATCH_RECORDS_MAX) => records,
            };
            // Tried again another time.
            let records = match records {
                Ok(records) => records,
                Err(error) if error.is_transient() => break,
                Err(error) => return Err(ConsumerError::Log(error).into()),
            };
            for record in records {
                if key_of(&record) == Some(conversation) {
                    match self.access.seams.codec.read_receipt(&record.headers, &record.payload) {
                        Ok(read) => add(&mut marks, read),
                        // It was copied to the quarantine when it was read first.
                        Err(DecodeError::Corrupt(_)) => {}
                        Err(DecodeError::UnknownSchema(_)) => break 'look,
                    }
                }
                done = Some(self.seq(&record)?);
            }
        }
        if done == hold.done_through {
            return Ok(());
        }
        self.write_marks(marks).await?;
        if done >= Some(to) {
            self.deps.metrics.healed.inc();
            tracing::info!(conversation_id = %conversation, "held read marks applied");
        }
        let hold = Hold { skipped_to: None, done_through: done.min(Some(to)) };
        Ok(self.access.put_hold(Consumer::Marks, conversation, hold).await?)
    }

    fn seq(&self, record: &Record) -> Result<Seq, ConsumerError> {
        Ok(self.access.seq(record.offset)?)
    }

    /// Writes the marks up to `last`, then that it is applied.
    async fn write(&mut self, marks: Marks, last: &Record) -> Result<(), StorageError> {
        let (source, applied) =
            (self.access.source(), Applied { seq: self.seq(last)?, fingerprint: last.fingerprint() });
        let write = || self.access.store("write applied", |store| store.set_applied(source, applied));
        if environment::seeded_bugs::seeded(Bug::CommitBeforeStore) {
            write().await?;
        }
        self.write_marks(marks).await?;
        write().await?;
        (self.next, self.last) = (last.offset + 1, Some(applied));
        Ok(())
    }

    async fn write_marks(&self, marks: Marks) -> Result<(), ConsumerError> {
        let write = |((user, conversation), mark): (_, Mark)| Row::Mark { user, mark }.write(conversation, mark.seq);
        let writes: Vec<_> = marks.into_iter().map(write).collect();
        if writes.is_empty() {
            return Ok(());
        }
        self.access.store("write read marks", |store| store.write(writes.clone())).await
    }
}

fn add(marks: &mut Marks, read: Option<ReadMark>) {
    let Some(read) = read else { return };
    let mark = Mark { seq: read.seq, ordinal: read.ordinal };
    let highest = marks.entry((read.user, read.conversation)).or_insert(mark);
    *highest = mark.max(*highest);
}
