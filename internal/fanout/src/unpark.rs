//! Going on with parked conversations, each in its own order, from where it stopped.

use domain::{ConversationId, Seq};
use store::{Answers, Slot};

use crate::FanoutError;
use crate::emit::Verdict;
use crate::partition::Partition;
use crate::reach::{Errand, Found};

impl Partition {
    /// An errand is back: its conversation goes on.
    pub(crate) async fn go_on(&mut self, conversation: ConversationId, found: Found) -> Result<(), FanoutError> {
        let Some(first) = self.parked.first(conversation) else { return Ok(()) };
        let mut answers = Answers::default();
        match found {
            Found::Ready(loaded, read) => {
                self.cache.put(conversation, Slot::Ready(loaded));
                answers = read;
            }
            Found::Redrive(from) => self.parked.park_from(conversation, from, true),
            Found::Dropped => self.parked.drop_first(conversation),
            Found::Held => return self.hold(conversation, first),
            Found::Reread(read) => {
                let next = Seq::new(self.generation, read.next)?;
                self.parked.refill(conversation, read.queue, next, read.complete);
            }
            Found::Holding(hold) => return self.holding(conversation, hold),
            Found::Healed => self.healed(conversation),
            Found::Again => {}
        }
        self.unpark(conversation, answers).await
    }

    /// Judges what is in memory of a parked conversation. What it needs to go on then, an errand is sent for; when it
    /// has come to the intake, it is parked no more. The `answers` are what was read for its first event.
    pub(crate) async fn unpark(
        &mut self,
        conversation: ConversationId,
        mut answers: Answers,
    ) -> Result<(), FanoutError> {
        loop {
            let Some(message) = self.parked.take(conversation) else { return self.drained(conversation) };
            let seq = message.placed.seq;
            let Some(Slot::Ready(mut loaded)) = self.cache.take(conversation) else {
                let redriven = self.follows.is_some() || self.parked.is_redriven(conversation);
                self.parked.put_back(conversation, message.clone());
                self.wanted.push(Errand::Open { conversation, redriven, message });
                return Ok(());
            };
            match self.judge(&mut loaded, &message, &std::mem::take(&mut answers)).await? {
                Verdict::Done => {
                    self.cache.put(conversation, Slot::Ready(loaded));
                    self.parked.went_on(conversation, seq.next());
                }
                Verdict::Asks => {
                    self.parked.put_back(conversation, message.clone());
                    self.wanted.push(Errand::Complete { conversation, loaded, message });
                    return Ok(());
                }
                Verdict::Hold => {
                    self.parked.put_back(conversation, message);
                    return self.hold(conversation, seq);
                }
            }
        }
    }

    /// Everything in memory is judged: the log has more, or the conversation has come to the intake.
    fn drained(&mut self, conversation: ConversationId) -> Result<(), FanoutError> {
        let Some(first) = self.parked.first(conversation) else { return Ok(()) };
        let (from, to) = (first.offset(), self.intake);
        if !self.parked.is_complete(conversation) && from < to {
            self.parked.reread_begins(conversation);
            let (last, cold) = (self.fingerprint, !self.cache.contains(conversation));
            // After a hold this may be long: whoever goes on with it, after a crash, does so from here.
            let out = first.before().filter(|_| self.parked.is_redriven(conversation) && !cold);
            let reread = Errand::Reread { conversation, from, to, last, cold, out };
            match out {
                Some(_) => self.settling.push((self.outbox.mark(), reread)),
                None => self.wanted.push(reread),
            }
        } else if self.parked.is_redriven(conversation) {
            self.heal(conversation)?;
        } else {
            self.parked.remove(conversation);
        }
        Ok(())
    }
}
