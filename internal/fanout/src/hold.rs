//! Holding a conversation, and judging it again when it may be known.

use domain::{ConversationId, Seq};
use host::teeth::{Bug, bites};
use store::{Consumer, Hold, Slot};

use crate::FanoutError;
use crate::partition::Partition;

/// Held conversations that one pass looks at.
const HOLDS_MAX: usize = 1000;

impl Partition {
    /// Holds the conversation from the event at `first` on: everything before it is out, everything taken in since is
    /// skipped.
    pub(crate) async fn hold(&mut self, conversation: ConversationId, first: Seq) -> Result<(), FanoutError> {
        tracing::warn!(conversation_id = %conversation, seq = %first, "conversation held");
        self.deps.metrics.holds.inc();
        self.outbox.settle().await?;
        let taken_in = Seq::new(self.generation, self.intake)?.before().unwrap_or_default();
        let hold = Hold { skipped_to: Some(first.max(taken_in)), done_through: first.before() };
        if bites(Bug::HoldAfterCommit) {
            self.skips.insert(conversation, hold);
        } else {
            self.put_hold(conversation, hold).await?;
        }
        self.cache.put(conversation, Slot::Held);
        Ok(())
    }

    /// Writes what was skipped since the last time. Before every commit.
    pub(crate) async fn write_skips(&mut self) -> Result<(), FanoutError> {
        for (conversation, hold) in std::mem::take(&mut self.skips) {
            self.put_hold(conversation, hold).await?;
        }
        Ok(())
    }

    /// The re-driven conversation has come to the intake: nothing up to there is skipped any more.
    pub(crate) async fn healed(&mut self, conversation: ConversationId) -> Result<(), FanoutError> {
        self.outbox.settle().await?;
        let through = Seq::new(self.generation, self.intake)?.before();
        self.put_hold(conversation, Hold { skipped_to: None, done_through: through }).await?;
        self.deps.metrics.healed.inc();
        tracing::info!(conversation_id = %conversation, "held conversation re-driven");
        Ok(())
    }

    /// Parks every held conversation of the partition to be judged again, as far as there is room.
    pub(crate) async fn redrive_all(&mut self) -> Result<(), FanoutError> {
        self.outbox.settle().await?;
        self.write_skips().await?;
        let partition = self.at.partition;
        let held = self.store("list holds", |store| store.holds(Consumer::Fanout, partition, HOLDS_MAX)).await?;
        for (conversation, hold) in held {
            let first = hold.done_through.unwrap_or_default().next();
            if first.offset() >= self.intake || self.parked.contains(conversation) || !self.parked.has_room() {
                continue;
            }
            self.cache.remove(conversation);
            self.parked.park_from(conversation, first, true);
        }
        Ok(())
    }

    async fn put_hold(&self, conversation: ConversationId, hold: Hold) -> Result<(), FanoutError> {
        let partition = self.at.partition;
        self.store("write a hold", |store| store.put_hold(Consumer::Fanout, partition, conversation, hold)).await
    }
}
