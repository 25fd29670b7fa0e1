//! Replaying a range of the log into the store, with the same code as live, and so with the same rows.

use std::ops::Range;
use std::sync::Arc;

use consumer::{BATCH_RECORDS_MAX, ConsumerError};
use eventlog::{PatientReader, Record, TopicPartition};
use events::topics::MESSAGES;
use tokio_util::sync::CancellationToken;

use crate::partition::Partition;
use crate::{Deps, StorageError};

/// The result of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Records read.
    pub records: u64,
    /// The offset behind the last record.
    pub next: u64,
}

/// Applies `from..to` of one partition of `chat.messages` again. Existing rows stay as they are; `applied` never goes
/// back. `progress` is called after every batch, and at the end. A log that does not answer for a while is waited for.
///
/// # Errors
/// [`NotTheLog`](consumer::ConsumerError::NotTheLog) when the store has applied another log, [`StorageError::Gap`] when
/// `from` lies beyond what is applied. Nothing was written then.
pub async fn replay(
    deps: Arc<Deps>,
    partition: u32,
    from: u64,
    to: u64,
    stop: CancellationToken,
    progress: impl FnMut(Replayed) + Send,
) -> Result<Replayed, StorageError> {
    let at = TopicPartition::new(MESSAGES, partition);
    let mut work = Partition::new(deps, at.clone(), stop);
    let source = work.access.source();
    let applied = work.access.store("read applied", |store| store.applied(source)).await?;
    // Records of another log would overwrite what is there, wherever they are further on.
    work.last = applied;
    work.verify().await?;
    work.read_drops().await?;
    let applied = applied.map(|applied| applied.seq.offset());
    if from > applied.map_or(0, |applied| applied + 1) {
        return Err(StorageError::Gap { at, from, applied });
    }
    // It begins as of the event before the range, however far the store is.
    work.applied = match from.checked_sub(1) {
        Some(before) => Some(work.access.seq(before).map_err(ConsumerError::Seq)?),
        None => None,
    };
    let (log, stop, proof) = (Arc::clone(&work.deps.seams.log), work.access.stop.clone(), work.proof());
    let reader = PatientReader::new(&*log, at, from, proof);
    replay_range(&mut work, reader, from..to, &stop, progress).await
}

/// What a range of the log is applied to again.
pub(crate) trait Replay {
    /// Applies the next records of the range, of which there is one at least, with everything that follows from them.
    async fn apply_again(&mut self, records: &[Record]) -> Result<(), StorageError>;
}

impl Replay for Partition {
    async fn apply_again(&mut self, records: &[Record]) -> Result<(), StorageError> {
        self.apply(records).await?;
        while !self.redrives.is_empty() {
            self.redrive_on().await?;
        }
        Ok(())
    }
}

/// Applies what the reader has of that range, batch by batch.
pub(crate) async fn replay_range(
    work: &mut impl Replay,
    mut reader: PatientReader<'_>,
    range: Range<u64>,
    stop: &CancellationToken,
    mut progress: impl FnMut(Replayed) + Send,
) -> Result<Replayed, StorageError> {
    let (to, mut done) = (range.end, Replayed { records: 0, next: range.start });
    while done.next < to {
        let room = usize::try_from(to - done.next).unwrap_or(usize::MAX).min(BATCH_RECORDS_MAX);
        let records = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(ConsumerError::Stopped.into()),
            records = reader.next(to, room) => records?,
        };
        let records: Vec<_> = records.into_iter().take_while(|record| record.offset < to).collect();
        match records.last() {
            Some(last) => {
                done = Replayed { records: done.records + records.len() as u64, next: last.offset + 1 };
                work.apply_again(&records).await?;
            }
            // There are no more: the offsets that are left hold no records.
            None => done.next = to,
        }
        progress(done);
    }
    Ok(done)
}
