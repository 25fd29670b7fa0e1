//! One partition of `chat.receipts`: read marks to rows. Monotone, so order does not matter and nothing is judged.
//!
//! A mark of a schema that this program does not know is held, by its conversation, until one does: the others of that
//! conversation go on, too, since no mark depends on another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{ConversationId, Seq, UserId};
use eventlog::consume::{Ended, Outcome};
use eventlog::{Assigned, Committer, LogError, PartitionReader, PatientReader, Quarantine, Record, TopicPartition};
use events::topics::{RECEIPTS, spec_of};
use events::{DecodeError, ReadMark};
use futures_util::stream::{self, TryStreamExt};
use host::teeth::Bug;
use runtime::insist;
use store::{Applied, Consumer, Hold, Mark, Source, StoreError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::partition::BATCH_RECORDS_MAX;
use crate::{Deps, Replayed, StorageError, lag, place};

/// Marks that are written at once.
const MARKS_AT_ONCE: usize = 128;
/// How often held marks are looked at.
const HOLDS_EVERY: Duration = Duration::from_secs(60);
/// Conversations with held marks that are looked at together; the next ones a minute later.
const HOLDS_AT_ONCE: usize = 100;
/// Records that one look reads at about most.
const LOOK_RECORDS_MAX: u64 = 20 * BATCH_RECORDS_MAX as u64;

/// Marks by whom and where, with the highest of each.
type Marks = BTreeMap<(UserId, ConversationId), Mark>;

pub(crate) async fn run(
    deps: Arc<Deps>,
    assigned: Assigned,
    committer: Arc<dyn Committer>,
    stop: CancellationToken,
) -> Outcome {
    let mut receipts = Receipts::new(deps, assigned.at, stop);
    match receipts.consume(&*committer).await {
        Ok(()) | Err(StorageError::Stopped) => Ok(Ended::Stopped),
        Err(error) => Err(error.into()),
    }
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
    mut progress: impl FnMut(Replayed) + Send,
) -> Result<Replayed, StorageError> {
    let at = TopicPartition::new(RECEIPTS, partition);
    let mut receipts = Receipts::new(deps, at.clone(), stop);
    receipts.resume().await?;
    let applied = receipts.next.checked_sub(1);
    if from > receipts.next {
        return Err(StorageError::Gap { at, from, applied });
    }
    let mut done = Replayed { records: 0, next: from };
    let (log, proof) =
        (Arc::clone(&receipts.deps.log), receipts.last.map(|last| (last.seq.offset(), last.fingerprint)));
    let mut reader = PatientReader::new(&*log, at, from, proof);
    while done.next < to {
        let room = usize::try_from(to - done.next).unwrap_or(usize::MAX).min(BATCH_RECORDS_MAX);
        let records = tokio::select! {
            biased;
            () = receipts.stop.cancelled() => return Err(StorageError::Stopped),
            records = reader.next(to, room) => records?,
        };
        let records: Vec<_> = records.into_iter().take_while(|record| record.offset < to).collect();
        let Some(last) = records.last() else {
            done.next = to;
            progress(done);
            break;
        };
        done = Replayed { records: done.records + records.len() as u64, next: last.offset + 1 };
        receipts.apply(&records).await?;
        progress(done);
    }
    Ok(done)
}

struct Receipts {
    deps: Arc<Deps>,
    at: TopicPartition,
    stop: CancellationToken,
    next: u64,
    /// The last record that was applied: proof of which log this is.
    last: Option<Applied>,
    quarantine: Quarantine,
    /// The last conversation whose held marks were looked at.
    looked_at: Option<ConversationId>,
}

impl Receipts {
    fn new(deps: Arc<Deps>, at: TopicPartition, stop: CancellationToken) -> Self {
        Self { deps, at, stop, next: 0, last: None, quarantine: Quarantine::default(), looked_at: None }
    }

    fn source(&self) -> Source {
        Source { topic: RECEIPTS, partition: self.at.partition }
    }

    async fn consume(&mut self, committer: &dyn Committer) -> Result<(), StorageError> {
        self.resume().await?;
        let ended = self.work().await;
        if let Ok(()) | Err(StorageError::Stopped) = ended {
            lag::tell_last(&self.at, committer, self.next).await;
        }
        ended
    }

    async fn work(&mut self) -> Result<(), StorageError> {
        let mut holds = interval(HOLDS_EVERY);
        holds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut reader = self.reader(self.next).await?;
            loop {
                let records = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Ok(()),
                    // The first tick comes at once: the take-over's look at the holds.
                    _ = holds.tick() => {
                        self.look_at_holds().await?;
                        continue;
                    }
                    records = reader.next(BATCH_RECORDS_MAX) => records,
                };
                match records {
                    Ok(records) => self.apply(&records).await?,
                    Err(error) if error.is_transient() => break,
                    Err(error) => return Err(error.into()),
                }
            }
            self.verify().await?;
        }
    }

    async fn resume(&mut self) -> Result<(), StorageError> {
        let (source, Deps { store, entropy, .. }) = (self.source(), &*self.deps);
        self.last =
            insist("read applied", entropy, &self.stop, StoreError::is_transient, || store.applied(source)).await?;
        self.next = self.last.map_or(0, |last| last.seq.offset() + 1);
        self.verify().await
    }

    /// Fails when the log is not the one that it was.
    async fn verify(&self) -> Result<(), StorageError> {
        match self.last {
            Some(last) => place::verify(&self.deps, &self.at, last, &self.stop).await,
            None => Ok(()),
        }
    }

    async fn reader(&self, from: u64) -> Result<Box<dyn PartitionReader>, StorageError> {
        let Deps { log, entropy, .. } = &*self.deps;
        let open = || log.reader(RECEIPTS, self.at.partition, from);
        Ok(insist("read the log", entropy, &self.stop, LogError::is_transient, open).await?)
    }

    /// Applies the records; what this program does not know of them is held.
    async fn apply(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let Some(last) = records.last() else { return Ok(()) };
        let (mut marks, mut held) = (Marks::new(), BTreeMap::<ConversationId, Hold>::new());
        for record in records {
            let reason = match (self.deps.codec.read_receipt(&record.headers, &record.payload), key_of(record)) {
                (Ok(read), _) => {
                    add(&mut marks, read);
                    continue;
                }
                (Err(DecodeError::UnknownSchema(schema)), Some(conversation)) => {
                    let (offset, partition) = (record.offset, &self.at);
                    tracing::warn!(%partition, offset, conversation_id = %conversation, schema, "a read mark is held");
                    let seq = Seq::new(spec_of(RECEIPTS).generation, offset)?;
                    let first = Hold { skipped_to: Some(seq), done_through: seq.before() };
                    held.entry(conversation).or_insert(first).skipped_to = Some(seq);
                    continue;
                }
                (Err(DecodeError::Corrupt(reason)), _) => reason,
                (Err(DecodeError::UnknownSchema(_)), None) => "its key is no conversation".to_owned(),
            };
            self.deps.metrics.corrupt.inc();
            let Deps { log, codec, .. } = &*self.deps;
            self.quarantine.copy((&**log, codec), &self.at, record, &reason, &self.stop).await;
        }
        for (conversation, hold) in held {
            self.deps.metrics.holds.inc();
            // Where one is held already, what it waits for comes first.
            let done_through = if self.hold_of(conversation).await?.is_held() { None } else { hold.done_through };
            self.put_hold(conversation, Hold { done_through, ..hold }).await?;
        }
        self.write(marks, last).await
    }

    /// Looks at some of the held marks: whether this program knows them.
    async fn look_at_holds(&mut self) -> Result<(), StorageError> {
        let (partition, after) = (self.at.partition, self.looked_at);
        let Deps { store, entropy, .. } = &*self.deps;
        let list = || store.holds(Consumer::Marks, partition, after, HOLDS_AT_ONCE);
        let held = insist("list holds", entropy, &self.stop, StoreError::is_transient, list).await?;
        let more = held.len() == HOLDS_AT_ONCE;
        self.looked_at = held.last().map(|(conversation, _)| *conversation).filter(|_| more);
        for (conversation, hold) in held {
            self.look_at(conversation, hold).await?;
        }
        Ok(())
    }

    /// Applies what was held of one conversation, up to the first mark that is still not known.
    async fn look_at(&self, conversation: ConversationId, hold: Hold) -> Result<(), StorageError> {
        let Some(to) = hold.skipped_to else { return Ok(()) };
        let first = hold.done_through.unwrap_or_default().next();
        let (mut marks, mut done) = (Marks::new(), hold.done_through);
        let mut reader = self.reader(first.offset()).await?;
        'look: while done < Some(to) && done.map_or(0, |done| done.offset()) < first.offset() + LOOK_RECORDS_MAX {
            let records = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(StorageError::Stopped),
                records = reader.next(BATCH_RECORDS_MAX) => records,
            };
            // Another time.
            let records = match records {
                Ok(records) => records,
                Err(error) if error.is_transient() => break,
                Err(error) => return Err(error.into()),
            };
            for record in records {
                if key_of(&record) == Some(conversation) {
                    match self.deps.codec.read_receipt(&record.headers, &record.payload) {
                        Ok(read) => add(&mut marks, read),
                        // Copied to the quarantine when it passed.
                        Err(DecodeError::Corrupt(_)) => {}
                        Err(DecodeError::UnknownSchema(_)) => break 'look,
                    }
                }
                done = Some(Seq::new(spec_of(RECEIPTS).generation, record.offset)?);
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
        self.put_hold(conversation, Hold { skipped_to: None, done_through: done.min(Some(to)) }).await
    }

    async fn hold_of(&self, conversation: ConversationId) -> Result<Hold, StorageError> {
        let (partition, Deps { store, entropy, .. }) = (self.at.partition, &*self.deps);
        let read = || store.hold(Consumer::Marks, partition, conversation);
        Ok(insist("read a hold", entropy, &self.stop, StoreError::is_transient, read).await?)
    }

    async fn put_hold(&self, conversation: ConversationId, hold: Hold) -> Result<(), StorageError> {
        let (partition, Deps { store, entropy, .. }) = (self.at.partition, &*self.deps);
        let write = || store.put_hold(Consumer::Marks, partition, conversation, hold);
        Ok(insist("write a hold", entropy, &self.stop, StoreError::is_transient, write).await?)
    }

    /// Writes the marks up to `last`, then that it is applied.
    async fn write(&mut self, marks: Marks, last: &Record) -> Result<(), StorageError> {
        let (Deps { store, entropy, .. }, stop) = (&*self.deps, &self.stop);
        let seq = Seq::new(spec_of(RECEIPTS).generation, last.offset)?;
        let (source, applied) = (self.source(), Applied { seq, fingerprint: last.fingerprint() });
        let write = || store.set_applied(source, applied);
        if host::teeth::bites(Bug::CommitBeforeStore) {
            insist("write applied", entropy, stop, StoreError::is_transient, write).await?;
        }
        self.write_marks(marks).await?;
        insist("write applied", entropy, stop, StoreError::is_transient, write).await?;
        (self.next, self.last) = (last.offset + 1, Some(applied));
        Ok(())
    }

    async fn write_marks(&self, marks: Marks) -> Result<(), StorageError> {
        let (Deps { store, entropy, .. }, stop) = (&*self.deps, &self.stop);
        stream::iter(marks.into_iter().map(Ok::<_, StorageError>))
            .try_for_each_concurrent(MARKS_AT_ONCE, |((user, conversation), mark)| async move {
                let write = || store.set_mark(user, conversation, mark);
                Ok(insist("write a read mark", entropy, stop, StoreError::is_transient, write).await?)
            })
            .await
    }
}

fn add(marks: &mut Marks, read: Option<ReadMark>) {
    let Some(read) = read else { return };
    let mark = Mark { seq: read.seq, ordinal: read.ordinal };
    let highest = marks.entry((read.user, read.conversation)).or_insert(mark);
    *highest = mark.max(*highest);
}

/// The conversation that a record is keyed by.
fn key_of(record: &Record) -> Option<ConversationId> {
    str::from_utf8(&record.key).ok()?.parse().ok()
}
