//! Replaying a range of the log into the store, with the same code as live, and so with the same rows.

use std::sync::Arc;

use consumer::{BATCH_RECORDS_MAX, ConsumerError};
use eventlog::{PatientReader, TopicPartition};
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
    mut progress: impl FnMut(Replayed) + Send,
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
    let mut done = Replayed { records: 0, next: from };
    let (log, proof) = (Arc::clone(&work.deps.seams.log), work.proof());
    let mut reader = PatientReader::new(&*log, at, from, proof);
    while done.next < to {
        let room = usize::try_from(to - done.next).unwrap_or(usize::MAX).min(BATCH_RECORDS_MAX);
        let records = tokio::select! {
            biased;
            () = work.access.stop.cancelled() => return Err(ConsumerError::Stopped.into()),
            records = reader.next(to, room) => records?,
        };
        let records: Vec<_> = records.into_iter().take_while(|record| record.offset < to).collect();
        let Some(last) = records.last() else {
            // There are no more: the offsets that are left hold no records.
            done.next = to;
            progress(done);
            break;
        };
        done = Replayed { records: done.records + records.len() as u64, next: last.offset + 1 };
        work.apply(&records).await?;
        while !work.redrives.is_empty() {
            work.redrive_on().await?;
        }
        progress(done);
    }
    Ok(done)
}
