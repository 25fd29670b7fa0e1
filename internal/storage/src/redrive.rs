//! Re-driving a held conversation: judging again, in order, from where it stopped up to the partition's own intake.
//!
//! Only the partition's owner does it, at take-over and every minute, so a version that is known now heals even where
//! nothing new is said.

use domain::{ConversationId, Seq};
use eventlog::{Meaning, Message};
use store::{Consumer, Hold, Slot};

use crate::StorageError;
use crate::batch::{Judged, Written};
use crate::error::transient_log;
use crate::partition::{BATCH_RECORDS_MAX, Partition};

/// Held conversations that one pass looks at.
const HOLDS_MAX: usize = 1000;

impl Partition {
    /// Re-drives every conversation of the partition that is held.
    pub(crate) async fn redrive_all(&mut self) -> Result<(), StorageError> {
        let Some(as_of) = self.applied else { return Ok(()) };
        let partition = self.at.partition;
        let held = self.store("list holds", |store| store.holds(Consumer::Storage, partition, None, HOLDS_MAX)).await?;
        for (conversation, _) in held {
            self.cache.remove(conversation);
            if let Some(slot) = self.redrive(conversation, as_of).await? {
                self.cache.put(conversation, slot);
            }
        }
        Ok(())
    }

    /// Judges what the conversation's hold skipped, up to `as_of`. `None`: it is not held there, and not loaded.
    pub(crate) async fn redrive(
        &mut self,
        conversation: ConversationId,
        as_of: Seq,
    ) -> Result<Option<Slot>, StorageError> {
        let hold = self.read_hold(conversation).await?;
        let done = hold.done_through.unwrap_or_default();
        if !hold.is_held() || done >= as_of {
            return Ok(None);
        }
        let mut loaded = None;
        let mut reader = self.reader_again(done.offset() + 1).await?;
        let mut next = done.next();
        while next <= as_of {
            let mut written = Written::default();
            let read = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(StorageError::Stopped),
                read = reader.next(BATCH_RECORDS_MAX) => read,
            };
            let records = match read {
                Ok(records) => records,
                Err(error) if transient_log(&error) => {
                    reader = self.reader_again(next.offset()).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for record in records {
                let (generation, partition) = (self.generation, self.at.partition);
                let message = Message::read(&self.deps.codec, generation, partition, self.partitions, &record)?;
                let seq = message.placed.seq;
                next = seq.next();
                if seq > as_of || message.conversation != Some(conversation) {
                    continue;
                }
                if loaded.is_none() {
                    loaded = Some(self.load(conversation, done, message.placed.append_time_ms).await?);
                }
                let Some(loaded) = loaded.as_mut() else { continue };
                let judged = match &message.meaning {
                    Meaning::Marker | Meaning::Corrupt(_) => Judged::Rows(Vec::new()),
                    Meaning::Unknown(what) => Judged::Not(what.clone()),
                    Meaning::Event(event) => self.judge(loaded, event, message.placed).await?,
                };
                match judged {
                    Judged::Rows(rows) => written.rows.add(conversation, rows),
                    Judged::Not(_) => {
                        self.flush(written).await?;
                        self.raise_done(conversation, seq.before()).await?;
                        return Ok(Some(Slot::Held));
                    }
                }
            }
            self.flush(written).await?;
        }
        self.raise_done(conversation, Some(as_of)).await?;
        self.deps.metrics.healed.inc();
        tracing::info!(conversation_id = %conversation, through = %as_of, "held conversation re-driven");
        Ok(loaded.map(Slot::Ready))
    }

    /// Only once the rows up to there are written.
    async fn raise_done(&self, conversation: ConversationId, done: Option<Seq>) -> Result<(), StorageError> {
        self.put_hold(conversation, Hold { skipped_to: None, done_through: done }).await
    }
}
