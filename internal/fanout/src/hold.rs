//! Holding a conversation, and judging it again later: pure, like the judge.

use std::time::Duration;

use domain::{ConversationId, Seq, SeqError};
use environment::seeded_bugs::{Bug, seeded};
use store::{CacheEntry, Hold};

use crate::decision::Decision;
use crate::parked::PARKED_MAX;
use crate::request::Request;
use crate::state::{Pass, State};

/// How long a follower waits before it tries a conversation again that cannot be judged.
const HELD_AGAIN: Duration = Duration::from_secs(10);
/// Conversations that are re-driven at once: the other half of the room is for those whose facts are not there yet.
const REDRIVES_MAX: usize = PARKED_MAX / 2;

impl State {
    /// Holds a parked conversation from the event at `first` on: everything before it is delivered, everything taken in
    /// since is skipped.
    ///
    /// A follower holds nothing: it waits until the conversation can be judged, or until the loop that it follows holds
    /// it.
    pub(crate) fn hold(&mut self, conversation: ConversationId, first: Seq) -> Result<Decision, SeqError> {
        if self.is_follower() {
            self.cache.remove(conversation);
            return Ok(Decision::Ask(Request::Wait(conversation, HELD_AGAIN)));
        }
        tracing::warn!(conversation_id = %conversation, seq = %first, "conversation held");
        self.metrics.holds.inc();
        let hold = Hold { skipped_to: Some(first.max(self.taken_in()?)), done_through: first.before() };
        if seeded(Bug::HoldAfterCommit) {
            self.skips.insert(conversation, hold);
            return self.holding(conversation, hold);
        }
        Ok(Decision::AskBehind(Request::Hold(conversation, hold)))
    }

    /// The hold is written. What was taken in meanwhile is skipped as well.
    pub(crate) fn holding(&mut self, conversation: ConversationId, hold: Hold) -> Result<Decision, SeqError> {
        let taken_in = Some(self.taken_in()?);
        if taken_in > hold.skipped_to {
            self.skip(conversation, Hold { skipped_to: taken_in, done_through: None });
        }
        self.is_held(conversation);
        self.cache.put(conversation, CacheEntry::Held);
        Ok(Decision::Nothing)
    }

    /// Gives a re-drive up: the conversation stays held, from where its row says, and what was taken in meanwhile is
    /// skipped. Events that were delivered already are delivered again later, and dropped by the devices' filter.
    pub(crate) fn stay_held(&mut self, conversation: ConversationId) -> Result<Decision, SeqError> {
        self.skip(conversation, Hold { skipped_to: Some(self.taken_in()?), done_through: None });
        self.is_held(conversation);
        self.cache.put(conversation, CacheEntry::Held);
        Ok(Decision::Nothing)
    }

    /// The conversation is parked no more, because it is held.
    fn is_held(&mut self, conversation: ConversationId) {
        if let Some(appended_ms) = self.parked.since_ms(conversation) {
            self.held.begin(conversation, appended_ms);
        }
        self.parked.remove(conversation);
    }

    /// Skips an event of a held conversation.
    pub(crate) fn skip_event(&mut self, conversation: ConversationId, seq: Seq) {
        self.metrics.skipped.inc();
        self.skip(conversation, Hold { skipped_to: Some(seq), done_through: None });
    }

    /// Notes a row that must be written before the next commit.
    pub(crate) fn skip(&mut self, conversation: ConversationId, hold: Hold) {
        let skip = self.skips.entry(conversation).or_default();
        skip.skipped_to = skip.skipped_to.max(hold.skipped_to);
        skip.done_through = skip.done_through.max(hold.done_through);
    }

    /// The re-driven conversation has come to the intake: nothing up to there is skipped any more.
    pub(crate) fn heal(&mut self, conversation: ConversationId) -> Result<Decision, SeqError> {
        self.parked.heals(conversation);
        let hold = Hold { skipped_to: None, done_through: Some(self.taken_in()?) };
        Ok(Decision::AskBehind(Request::Heal(conversation, hold)))
    }

    /// The row is written: what was taken in meanwhile is judged like that of any parked conversation.
    pub(crate) fn healed(&mut self, conversation: ConversationId) {
        self.parked.is_healed(conversation);
        self.pass.healed.extend(self.pass.asked.then_some(conversation));
        self.held.end(conversation);
        self.metrics.healed.inc();
        tracing::info!(conversation_id = %conversation, "held conversation re-driven");
    }

    /// Begins to re-drive every held conversation of the partition, unless that is in progress.
    pub(crate) fn begin_pass(&mut self) {
        if !self.pass.under_way && !self.is_follower() {
            self.pass = Pass::begun();
        }
    }

    /// Begins with the first held conversation, also if a pass is in progress.
    pub(crate) fn begin_pass_anew(&mut self) {
        if self.pass.asked {
            self.pass.again = true;
        } else {
            self.pass = Pass::begun();
        }
    }

    /// Lists the next held conversations, once half of the previous ones are done.
    pub(crate) fn continue_pass(&mut self) -> Decision {
        if !self.pass.under_way || self.pass.asked || !self.parked.has_room() {
            return Decision::Nothing;
        }
        let limit = REDRIVES_MAX.saturating_sub(self.parked.redriven());
        if limit < REDRIVES_MAX / 2 {
            return Decision::Nothing;
        }
        self.pass.asked = true;
        Decision::Ask(Request::List(self.pass.after, limit))
    }

    /// Parks held conversations to be judged again, as far as there is room, unless a delivery partition lags: its
    /// follower passes over held events, so a re-drive has to deliver them there itself. `limit` were asked for.
    pub(crate) fn redrive(
        &mut self,
        held: Vec<(ConversationId, Hold)>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Decision)>, SeqError> {
        self.pass.asked = false;
        let healed = std::mem::take(&mut self.pass.healed);
        let (last_part, mut decisions) = (held.len() < limit, Vec::new());
        for (conversation, hold) in held {
            if !self.parked.has_room() {
                // The pass goes on from here later.
                return Ok(decisions);
            }
            self.pass.after = Some(conversation);
            let first = hold.done_through.unwrap_or_default().next();
            if first.offset() >= self.intake || self.parked.contains(conversation) || healed.contains(&conversation) {
                continue;
            }
            match self.cache.take(conversation) {
                _ if !self.lags => decisions.push((conversation, self.park_from(conversation, first, true)?)),
                Some(CacheEntry::Held) => self.cache.put(conversation, CacheEntry::Held),
                // A row that an owner before this one wrote late, or one that lacks what it had skipped at last: a
                // follower waits for what is not skipped.
                Some(CacheEntry::Ready(_)) | None => drop(self.stay_held(conversation)?),
            }
        }
        self.pass.under_way = !last_part;
        if std::mem::take(&mut self.pass.again) {
            self.pass = Pass::begun();
        }
        Ok(decisions)
    }
}
