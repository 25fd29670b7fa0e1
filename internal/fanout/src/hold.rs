//! Holding a conversation, and judging it again when it may be known.

use domain::{ConversationId, Seq};
use host::teeth::{Bug, bites};
use store::{Hold, Slot};

use crate::FanoutError;
use crate::parked::PARKED_MAX;
use crate::partition::Partition;
use crate::reach::Errand;

/// Conversations that are re-driven at once: the other half of the slots is for those whose facts are not there yet.
const REDRIVES_MAX: usize = PARKED_MAX / 2;

/// The look at all holds of the partition, part by part: each part begins when the one before is re-driven.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    under_way: bool,
    /// An errand lists the next part.
    asked: bool,
    /// The last conversation of the parts before.
    after: Option<ConversationId>,
}

impl Partition {
    /// Holds a parked conversation from the event at `first` on: everything before it is out, everything taken in since
    /// is skipped.
    ///
    /// A follower holds nothing: it delivers to a partition whose devices are behind anyway, and waits.
    pub(crate) fn hold(&mut self, conversation: ConversationId, first: Seq) -> Result<(), FanoutError> {
        if self.follows.is_some() {
            self.cache.remove(conversation);
            self.wanted.push(Errand::Wait(conversation));
            return Ok(());
        }
        tracing::warn!(conversation_id = %conversation, seq = %first, "conversation held");
        self.deps.metrics.holds.inc();
        let hold = Hold { skipped_to: Some(first.max(self.taken_in()?)), done_through: first.before() };
        if bites(Bug::HoldAfterCommit) {
            self.skips.insert(conversation, hold);
            return self.holding(conversation, hold);
        }
        self.settling.push((self.outbox.mark(), Errand::Hold(conversation, hold)));
        Ok(())
    }

    /// The hold is written. What was taken in meanwhile is skipped as well.
    pub(crate) fn holding(&mut self, conversation: ConversationId, hold: Hold) -> Result<(), FanoutError> {
        let taken_in = Some(self.taken_in()?);
        if taken_in > hold.skipped_to && !bites(Bug::HoldForgetsTheMeanwhile) {
            self.skip(conversation, Hold { skipped_to: taken_in, done_through: None });
        }
        self.parked.remove(conversation);
        self.cache.put(conversation, Slot::Held);
        Ok(())
    }

    /// The row is written before the next commit.
    pub(crate) fn skip(&mut self, conversation: ConversationId, hold: Hold) {
        let skip = self.skips.entry(conversation).or_default();
        skip.skipped_to = skip.skipped_to.max(hold.skipped_to);
        skip.done_through = skip.done_through.max(hold.done_through);
    }

    /// The re-driven conversation has come to the intake: nothing up to there is skipped any more.
    pub(crate) fn heal(&mut self, conversation: ConversationId) -> Result<(), FanoutError> {
        let hold = Hold { skipped_to: None, done_through: Some(self.taken_in()?) };
        self.settling.push((self.outbox.mark(), Errand::Heal(conversation, hold)));
        Ok(())
    }

    /// That is written: what was taken in meanwhile is judged as that of any parked conversation.
    pub(crate) fn healed(&mut self, conversation: ConversationId) {
        self.parked.is_healed(conversation);
        self.deps.metrics.healed.inc();
        tracing::info!(conversation_id = %conversation, "held conversation re-driven");
    }

    /// Begins to look at every held conversation of the partition, unless that is under way.
    pub(crate) fn begin_pass(&mut self) {
        if !self.pass.under_way && self.follows.is_none() {
            self.pass = Pass { under_way: true, ..Pass::default() };
        }
    }

    /// Lists the next held conversations, once half of those before are done.
    pub(crate) fn continue_pass(&mut self) {
        if !self.pass.under_way || self.pass.asked || !self.parked.has_room() {
            return;
        }
        let limit = REDRIVES_MAX.saturating_sub(self.parked.redriven());
        if limit < REDRIVES_MAX / 2 {
            return;
        }
        self.pass.asked = true;
        self.wanted.push(Errand::List(self.pass.after, limit));
    }

    /// Parks held conversations to be judged again, as far as there is room.
    pub(crate) async fn redrive(&mut self, held: Vec<(ConversationId, Hold)>, limit: usize) -> Result<(), FanoutError> {
        self.pass.asked = false;
        let last_part = held.len() < limit;
        for (conversation, hold) in held {
            if !self.parked.has_room() {
                // The pass goes on from here.
                return Ok(());
            }
            self.pass.after = Some(conversation);
            let first = hold.done_through.unwrap_or_default().next();
            if first.offset() >= self.intake || self.parked.contains(conversation) {
                continue;
            }
            self.cache.remove(conversation);
            self.parked.park_from(conversation, first, true);
            self.unpark(conversation, store::Answers::default()).await?;
        }
        self.pass.under_way = !last_part;
        Ok(())
    }

    /// The last place that was taken in.
    fn taken_in(&self) -> Result<Seq, FanoutError> {
        Ok(Seq::new(self.generation, self.intake)?.before().unwrap_or_default())
    }
}
