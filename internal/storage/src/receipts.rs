//! One partition of `chat.receipts`: read marks to rows. Monotone, so order does not matter and nothing is judged.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{ConversationId, Seq, UserId};
use eventlog::consume::{Ended, Outcome};
use eventlog::{Assigned, Committer, PartitionReader, PatientReader, Quarantine, Record, TopicPartition};
use events::DecodeError;
use events::topics::{RECEIPTS, spec_of};
use futures_util::stream::{self, TryStreamExt};
use host::teeth::Bug;
use runtime::{Stall, insist};
use store::{Applied, Mark, Source};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::error::{transient_log, transient_store};
use crate::partition::BATCH_RECORDS_MAX;
use crate::{Deps, Replayed, StorageError, lag, place};

/// Marks that are written at once.
const MARKS_AT_ONCE: usize = 128;

pub(crate) async fn run(
    deps: Arc<Deps>,
    assigned: Assigned,
    committer: Arc<dyn Committer>,
    stop: CancellationToken,
) -> Outcome {
    let mut receipts = Receipts { deps, at: assigned.at, stop, next: 0, last: None, quarantine: Quarantine::default() };
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
    let mut receipts = Receipts { deps, at: at.clone(), stop, next: 0, last: None, quarantine: Quarantine::default() };
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
}

impl Receipts {
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
        let (entropy, stalled) = (self.deps.entropy.clone(), self.deps.metrics.stalled.clone());
        let mut stall = Stall::new("apply read marks", entropy, stalled);
        loop {
            let mut reader = self.reader().await?;
            loop {
                let records = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Ok(()),
                    records = reader.next(BATCH_RECORDS_MAX) => records,
                };
                match records {
                    Ok(records) => match self.apply(&records).await {
                        Ok(()) => stall.go_on(),
                        Err(error @ StorageError::UnknownSchema(..)) => {
                            tokio::select! {
                                biased;
                                () = self.stop.cancelled() => return Ok(()),
                                () = sleep_until(stall.stand_still(&error)) => break,
                            }
                        }
                        Err(error) => return Err(error),
                    },
                    Err(error) if transient_log(&error) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            self.verify().await?;
        }
    }

    async fn resume(&mut self) -> Result<(), StorageError> {
        let (source, Deps { store, entropy, .. }) = (self.source(), &*self.deps);
        self.last = insist("read applied", entropy, &self.stop, transient_store, || store.applied(source)).await?;
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

    async fn reader(&self) -> Result<Box<dyn PartitionReader>, StorageError> {
        let Deps { log, entropy, .. } = &*self.deps;
        let open = || log.reader(RECEIPTS, self.at.partition, self.next);
        Ok(insist("read the log", entropy, &self.stop, transient_log, open).await?)
    }

    /// Applies what comes before the first record of a schema that this program does not know, and fails there if there
    /// is one: a mark belongs to no state that could be held, so its partition waits for the upgrade.
    async fn apply(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let (mut marks, mut last, mut outcome) = (BTreeMap::new(), None, Ok(()));
        for record in records {
            match self.deps.codec.read_receipt(&record.headers, &record.payload) {
                Ok(Some(read)) => {
                    let mark = Mark { seq: read.seq, ordinal: read.ordinal };
                    let highest = marks.entry((read.user, read.conversation)).or_insert(mark);
                    *highest = mark.max(*highest);
                }
                Ok(None) => {}
                Err(DecodeError::Corrupt(reason)) => {
                    self.deps.metrics.corrupt.inc();
                    let Deps { log, codec, .. } = &*self.deps;
                    self.quarantine.copy((&**log, codec), &self.at, record, &reason, &self.stop).await;
                }
                Err(DecodeError::UnknownSchema(schema)) => {
                    outcome = Err(StorageError::UnknownSchema(self.at.clone(), record.offset, schema));
                    break;
                }
            }
            last = Some(record);
        }
        if let Some(last) = last {
            self.write(marks, last).await?;
        }
        outcome
    }

    /// Writes the marks up to `last`, then that it is applied.
    async fn write(
        &mut self,
        marks: BTreeMap<(UserId, ConversationId), Mark>,
        last: &Record,
    ) -> Result<(), StorageError> {
        let (Deps { store, entropy, .. }, stop) = (&*self.deps, &self.stop);
        let seq = Seq::new(spec_of(RECEIPTS).generation, last.offset)?;
        let (source, applied) = (self.source(), Applied { seq, fingerprint: last.fingerprint() });
        let write = || store.set_applied(source, applied);
        if host::teeth::bites(Bug::CommitBeforeStore) {
            insist("write applied", entropy, stop, transient_store, write).await?;
        }
        stream::iter(marks.into_iter().map(Ok::<_, StorageError>))
            .try_for_each_concurrent(MARKS_AT_ONCE, |((user, conversation), mark)| async move {
                let write = || store.set_mark(user, conversation, mark);
                Ok(insist("write a read mark", entropy, stop, transient_store, write).await?)
            })
            .await?;
        insist("write applied", entropy, stop, transient_store, write).await?;
        (self.next, self.last) = (last.offset + 1, Some(applied));
        Ok(())
    }
}
