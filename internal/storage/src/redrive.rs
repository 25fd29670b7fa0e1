//! Re-driving a held conversation: its events are judged again, in order, from where it stopped up to the partition's
//! own intake.
//!
//! Only the partition's owner does it: at take-over and every minute, so that an upgrade heals a hold even where
//! nothing new comes, and when a new event shows that the conversation is held. It goes slice by slice, one for each
//! turn of the partition's loop: the other conversations go on, and this one stays held until the last slice.

use consumer::{BATCH_RECORDS_MAX, ConsumerError};
use domain::{ConversationId, ID_CACHE_ROWS_MAX, Seq};
use environment::seeded_bugs::{Bug, seeded};
use eventlog::{Meaning, PartitionReader, Record};
use store::{CacheEntry, Consumer, Hold, Loaded};

use crate::StorageError;
use crate::batch::{Judged, Written};
use crate::partition::Partition;
use crate::pending::EventWrites;
use crate::redrives::Redrives;

/// Held conversations that are listed at once.
const HOLDS_AT_ONCE: usize = 100;
/// Events that a slice judges, about: it ends behind the records that were read together.
pub const SLICE_EVENTS_MAX: usize = 300;
/// Records that a slice reads, about.
const SLICE_RECORDS: u64 = 10 * BATCH_RECORDS_MAX as u64;

/// How a slice ended.
enum Slice {
    /// There is more to judge.
    More,
    /// It ended at an event that cannot be judged.
    Held,
    /// It has come to the intake; `None` when nothing had to be loaded.
    Done(Option<Box<Loaded>>),
}

impl Partition {
    /// Begins to re-drive every held conversation of the partition, unless they are being listed.
    pub(crate) fn redrive_all(&mut self) {
        self.redrives.listing.get_or_insert(None);
    }

    /// Lists the next part while few conversations wait, or else judges the next slice. The list does not wait for the
    /// conversations that it has returned: one long hold among them would keep all others from being tried.
    pub(crate) async fn redrive_on(&mut self) -> Result<(), StorageError> {
        let Some(as_of) = self.applied else {
            self.redrives = Redrives::default();
            return Ok(());
        };
        let few = self.redrives.waiting.len() < HOLDS_AT_ONCE;
        if let Some(after) = self.redrives.listing.filter(|_| few) {
            let held = self.access.holds(Consumer::Storage, after, HOLDS_AT_ONCE).await?;
            let last = held.last().map(|(conversation, _)| *conversation);
            self.redrives.listing = last.filter(|_| held.len() == HOLDS_AT_ONCE).map(Some);
            held.into_iter().for_each(|(conversation, _)| self.redrives.add(conversation));
        } else if let Some(conversation) = self.redrives.waiting.pop_front() {
            self.cache.remove(conversation);
            self.read_drops().await?;
            if let Some(slot) = self.redrive(conversation, as_of).await? {
                self.cache.put(conversation, slot);
                // All of it is written between two batches; in a quiet partition no batch comes to shrink the cache.
                self.cache.shrink();
            }
        }
        Ok(())
    }

    /// Judges a slice of what the conversation's hold skipped, at most up to `as_of`. `None`: the conversation is not
    /// held there, and not loaded.
    async fn redrive(&mut self, conversation: ConversationId, as_of: Seq) -> Result<Option<CacheEntry>, StorageError> {
        Ok(match self.slice(conversation, as_of).await? {
            Slice::Done(loaded) => loaded.map(CacheEntry::Ready),
            Slice::Held => Some(CacheEntry::Held),
            Slice::More => {
                self.redrives.add(conversation);
                Some(CacheEntry::Held)
            }
        })
    }

    async fn slice(&self, conversation: ConversationId, as_of: Seq) -> Result<Slice, StorageError> {
        let hold = self.read_hold(conversation).await?;
        let done = hold.done_through.unwrap_or_default();
        if !hold.is_held() || done >= as_of {
            return Ok(Slice::Done(None));
        }
        let (mut loaded, mut next, mut events) = (None, done.next(), 0);
        let end = next.offset().saturating_add(SLICE_RECORDS);
        let mut reader = self.reader_again(next.offset()).await?;
        while next <= as_of && events < self.deps.slice_events && next.offset() < end {
            let Some(records) = self.next_records(&mut *reader).await? else {
                reader = self.reader_again(next.offset()).await?;
                continue;
            };
            let mut written = Written::default();
            for record in records {
                let message = self.message(&record)?;
                let seq = message.appended.seq;
                next = seq.next();
                if seq > as_of || message.conversation != Some(conversation) {
                    continue;
                }
                events += 1;
                if loaded.is_none() {
                    loaded = self.load(conversation, done, message.appended.append_time_ms).await?;
                }
                let Some(loaded) = loaded.as_mut() else {
                    self.raise_done(conversation, seq.before()).await?;
                    return Ok(Slice::Held);
                };
                let judged = match &message.meaning {
                    // It was copied to the quarantine when it was read first.
                    Meaning::Marker | Meaning::Corrupt(_) | Meaning::Dropped => Judged::Writes(EventWrites::default()),
                    Meaning::Unknown(what) => Judged::Not(what.clone()),
                    Meaning::Event(event) => self.judge(loaded, event, message.appended, &written.cells).await?,
                };
                match judged {
                    Judged::Writes(writes) => written.cells.add(conversation, writes),
                    Judged::Not(_) => {
                        self.flush(written).await?;
                        self.raise_done(conversation, seq.before()).await?;
                        return Ok(Slice::Held);
                    }
                }
            }
            self.flush(written).await?;
            // Everything in it is written by now.
            if let Some(loaded) = &mut loaded {
                loaded.ids.shrink(ID_CACHE_ROWS_MAX);
            }
        }
        if next <= as_of {
            let done = if seeded(Bug::RedriveDoneTooFar) { Some(next) } else { next.before() };
            self.raise_done(conversation, done).await?;
            return Ok(Slice::More);
        }
        self.raise_done(conversation, Some(as_of)).await?;
        self.deps.metrics.healed.inc();
        tracing::info!(conversation_id = %conversation, through = %as_of, "held conversation re-driven");
        Ok(Slice::Done(loaded))
    }

    /// The next records; `None` when the reader has failed.
    async fn next_records(&self, reader: &mut dyn PartitionReader) -> Result<Option<Vec<Record>>, ConsumerError> {
        let records = tokio::select! {
            biased;
            () = self.access.stop.cancelled() => return Err(ConsumerError::Stopped),
            records = reader.next(BATCH_RECORDS_MAX.min(self.deps.slice_events)) => records,
        };
        match records {
            Ok(records) => Ok(Some(records)),
            Err(error) if error.is_transient() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Raises `done_through`. Only once the rows up to there are written.
    async fn raise_done(&self, conversation: ConversationId, done: Option<Seq>) -> Result<(), ConsumerError> {
        self.put_hold(conversation, Hold { skipped_to: None, done_through: done }).await
    }
}
