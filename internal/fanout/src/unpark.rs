//! Going on with parked conversations, each in its own order, from where it stopped.

use std::collections::VecDeque;

use domain::{ConversationId, Seq};
use eventlog::Message;
use store::{Consumer, Loaded, Slot};

use crate::FanoutError;
use crate::emit::Verdict;
use crate::error::transient_log;
use crate::open::Facts;
use crate::partition::{BATCH_RECORDS_MAX, Partition};

/// Events of one conversation that are read again at once.
const REREAD_EVENTS_MAX: usize = 500;

/// Where a cold parked conversation stands.
enum Thawed {
    Ready(Box<Loaded>),
    NotYet,
    Hold,
    /// It was re-parked from an earlier place.
    Moved,
}

impl Partition {
    /// Goes on with every parked conversation whose facts may be there now.
    pub(crate) async fn unpark_ready(&mut self) -> Result<(), FanoutError> {
        let source = self.source;
        let applied = self.store("read applied", |store| store.applied(source)).await?;
        let Some(applied) = applied.map(|applied| applied.seq) else { return Ok(()) };
        for (conversation, first) in self.parked.firsts() {
            if first.before().unwrap_or_default() <= applied {
                self.unpark(conversation).await?;
            }
        }
        Ok(())
    }

    async fn unpark(&mut self, conversation: ConversationId) -> Result<(), FanoutError> {
        loop {
            let Some(parked) = self.parked.get_mut(conversation) else { return Ok(()) };
            let (first, redrive) = (parked.first, parked.redrive);
            if parked.queue.is_empty() && !parked.complete {
                self.reread(conversation, first).await?;
            }
            let Some(message) = self.parked.take(conversation) else {
                if self.parked.get_mut(conversation).is_some_and(|parked| parked.complete) {
                    // It has come to the intake.
                    if redrive {
                        self.healed(conversation).await?;
                    }
                    self.parked.remove(conversation);
                    return Ok(());
                }
                continue;
            };
            let seq = message.placed.seq;
            let mut loaded = match self.cache.take(conversation) {
                Some(Slot::Ready(loaded)) => loaded,
                Some(Slot::Held) | None => match self.thaw(conversation, first, redrive, &message).await? {
                    Thawed::Ready(loaded) => loaded,
                    Thawed::NotYet => {
                        self.parked.put_back(conversation, message);
                        return Ok(());
                    }
                    Thawed::Moved => continue,
                    Thawed::Hold => {
                        self.parked.remove(conversation);
                        return self.hold(conversation, seq).await;
                    }
                },
            };
            match self.judge(conversation, &mut loaded, &message).await? {
                Verdict::Done => {
                    self.cache.put(conversation, Slot::Ready(loaded));
                    if let Some(parked) = self.parked.get_mut(conversation) {
                        parked.first = seq.next();
                    }
                }
                Verdict::NotYet => {
                    self.cache.put(conversation, Slot::Ready(loaded));
                    self.parked.put_back(conversation, message);
                    return Ok(());
                }
                Verdict::Hold => {
                    self.parked.remove(conversation);
                    return self.hold(conversation, seq).await;
                }
            }
        }
    }

    /// Loads a parked conversation as of the event before `message`, unless our own hold says that it stopped earlier.
    async fn thaw(
        &mut self,
        conversation: ConversationId,
        first: Seq,
        redrive: bool,
        message: &Message,
    ) -> Result<Thawed, FanoutError> {
        if !redrive {
            let own = self.read_hold(Consumer::Fanout, conversation).await?;
            if own.is_held() && own.done_through < first.before() {
                self.parked.remove(conversation);
                self.parked.park_from(conversation, own.done_through.unwrap_or_default().next(), true);
                return Ok(Thawed::Moved);
            }
        }
        if !self.knows(message) {
            return Ok(Thawed::Hold);
        }
        let as_of = message.placed.seq.before().unwrap_or_default();
        Ok(match self.facts_at(conversation, as_of).await? {
            Facts::There => Thawed::Ready(self.load(conversation, as_of, message.placed.append_time_ms).await?),
            Facts::NotYet => Thawed::NotYet,
            Facts::Held => Thawed::Hold,
        })
    }

    /// Reads the log again for one conversation, from `first` up to the intake or to a bounded number of its events.
    async fn reread(&mut self, conversation: ConversationId, first: Seq) -> Result<(), FanoutError> {
        self.deps.metrics.rereads.inc();
        let (mut queue, mut next) = (VecDeque::new(), first.offset());
        if next < self.intake {
            let mut reader = self.reader_again(next).await?;
            while next < self.intake && queue.len() < REREAD_EVENTS_MAX {
                let read = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Err(FanoutError::Stopped),
                    read = reader.next(BATCH_RECORDS_MAX) => read,
                };
                let records = match read {
                    Ok(records) => records,
                    Err(error) if transient_log(&error) => {
                        reader = self.reader_again(next).await?;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                for record in records {
                    if record.offset >= self.intake || queue.len() >= REREAD_EVENTS_MAX {
                        break;
                    }
                    next = record.offset + 1;
                    let message = self.read_message(&record)?;
                    if message.conversation == Some(conversation) {
                        queue.push_back(message);
                    }
                }
            }
        }
        self.parked.refill(conversation, queue, next >= self.intake);
        if let Some(parked) = self.parked.get_mut(conversation)
            && parked.queue.is_empty()
        {
            parked.first = Seq::new(self.generation, next)?;
        }
        Ok(())
    }
}
