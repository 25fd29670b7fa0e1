//! Loads a conversation and its facts as of a seq in the log, for all consumers.

use domain::{
    CommandId, ConversationId, ConversationState, EmojiCache, Event, ID_CACHE_SPAN_MS, IdCache, Lookup, Past, Role,
    Seq, past_of,
};
use environment::seeded_bugs::{Bug, seeded};

use crate::{ChatStore, StoreError};

/// A conversation in memory: its state, its recently accepted ids, and the emojis of messages that were reacted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The state as of the last event that was applied to it.
    pub state: ConversationState,
    /// The id cache.
    pub ids: IdCache,
    /// The emoji cache.
    pub emojis: EmojiCache,
}

/// Loads a conversation as of `as_of`, for an event appended at `append_time_ms`.
///
/// The caller must have seen `applied >= as_of`, and after that that the conversation is not held.
///
/// # Errors
/// When the store cannot be read.
pub async fn load<S: ChatStore + ?Sized>(
    store: &S,
    conversation: ConversationId,
    as_of: Seq,
    append_time_ms: i64,
) -> Result<Loaded, StoreError> {
    let t0_ms = append_time_ms.saturating_sub(ID_CACHE_SPAN_MS);
    let as_of =
        if seeded(Bug::LatestInsteadOfAsOf) { Seq::try_from((1_u64 << 50) - 1).unwrap_or(as_of) } else { as_of };
    let mut state = store.conversation(conversation, as_of).await?;
    if seeded(Bug::OrdinalFromMemory) {
        state.ordinal = 0;
    }
    let rows = store.ids_from(conversation, t0_ms, as_of).await?;
    Ok(Loaded { state, ids: IdCache::new(t0_ms, rows), emojis: EmojiCache::default() })
}

/// The facts of an event, or what must be read to complete them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactsLookup {
    /// The exact facts.
    Ready(domain::Facts),
    /// An id is older than the cache: its row must be read, as of the event before, and kept in the cache.
    Read(CommandId),
    /// The author's memberships must be read, as of the event before.
    ReadPast(Past),
    /// The emojis of the message at that seq and slot must be read, as of the event before, and kept in the cache.
    ReadEmojis(Seq, u64),
}

/// Results of reads for one event that the cache does not keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Ids that were never accepted.
    pub absent: Vec<CommandId>,
    /// The answer about the author's past.
    pub past: Option<bool>,
}

impl Answers {
    /// Adds the answer, from the author's memberships as they were read.
    pub fn learn(&mut self, past: Past, versions: Vec<(Seq, Option<Role>)>, as_of: Seq) {
        self.past = Some(past.answer(versions, as_of));
    }
}

impl Loaded {
    /// The facts of `event`, as far as memory is exact. On [`FactsLookup::Read`], read that id and call
    /// [`IdCache::keep`] with the row if there is one, otherwise add the id to `answers`; on
    /// [`FactsLookup::ReadPast`], add the answer; on [`FactsLookup::ReadEmojis`], call [`EmojiCache::keep`].
    #[must_use]
    pub fn facts(&self, event: &Event, answers: &Answers) -> FactsLookup {
        let mut found = [None, None];
        let mut own = Some(event.id);
        if seeded(Bug::NoDuplicateFilter) {
            own = None;
        } else if seeded(Bug::FilterOnWrongKey) {
            own = event.action.target();
        }
        for (known, id) in found.iter_mut().zip([own, event.action.target()]) {
            let Some(id) = id else { continue };
            match self.ids.lookup(id) {
                Lookup::Known(row) => *known = row,
                Lookup::Read if answers.absent.contains(&id) => {}
                Lookup::Read => return FactsLookup::Read(id),
            }
        }
        let [first, target] = found;
        let asked = past_of(&self.state, event, first.as_ref(), target.as_ref());
        let past = match (asked, answers.past) {
            (Some(past), None) => return FactsLookup::ReadPast(past),
            (asked, past) => asked.is_some() && past == Some(true),
        };
        match self.emojis.fact(event, first.as_ref(), target.as_ref()) {
            Ok(emojis) => FactsLookup::Ready(domain::Facts { first, target, past, emojis }),
            Err((seq, slot)) => FactsLookup::ReadEmojis(seq, slot),
        }
    }

    /// Applies an event's effects to the conversation.
    pub fn absorb(&mut self, seq: Seq, effects: &domain::Effects, target: Option<&domain::IdRow>) {
        self.state.absorb(seq, &effects.changes);
        self.ids.absorb(seq, &effects.changes, target);
        self.emojis.absorb(&effects.changes);
    }
}
