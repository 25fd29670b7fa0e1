//! Loads a conversation and its facts as of a seq in the log, for all consumers.

use domain::{
    Change, CommandId, ConversationId, ConversationState, Event, Extras, ID_CACHE_SPAN_MS, IdCache, Lookup, Past, Role,
    Said, Seq, TargetCache, TargetFact, past_of,
};
use environment::seeded_bugs::{Bug, seeded};

use crate::{ChatStore, StoreError};

/// A conversation in memory: its state, its recently accepted ids, and facts about messages that events were about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The state as of the last event that was applied to it.
    pub state: ConversationState,
    /// The id cache.
    pub ids: IdCache,
    /// The cache of facts about targets.
    pub targets: TargetCache,
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
    Ok(Loaded { state, ids: IdCache::new(t0_ms, rows), targets: TargetCache::since(as_of) })
}

/// The facts of an event, or what must be read to complete them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactsLookup {
    /// The exact facts.
    Ready(Box<domain::Facts>),
    /// An id is older than the cache: its row must be read, as of the event before, and kept in the cache.
    Read(CommandId),
    /// The author's memberships must be read, as of the event before.
    ReadPast(Past),
    /// A fact about the target must be read, as of the event before, and kept.
    ReadTarget(TargetFact),
}

/// A fact about a target as it was read; [`Loaded::keep`] keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetRead {
    /// The emojis that the message at that seq has taken.
    Emojis(Seq, Vec<String>),
    /// The length of the thread whose root is at that seq.
    Thread(Seq, u64),
    /// What must be known of what the message at that seq says.
    Said(Seq, Said),
}

/// Reads a fact about a target.
///
/// # Errors
/// When the store cannot be read.
pub async fn read_target<S: ChatStore + ?Sized>(
    store: &S,
    conversation: ConversationId,
    fact: TargetFact,
    as_of: Seq,
) -> Result<TargetRead, StoreError> {
    Ok(match fact {
        TargetFact::Emojis(message, slot) => {
            TargetRead::Emojis(message, store.emojis(conversation, slot, message, as_of).await?)
        }
        TargetFact::Thread(root) => TargetRead::Thread(root, store.thread_length(conversation, root, as_of).await?),
        TargetFact::Said(message, slot) => {
            TargetRead::Said(message, store.said(conversation, slot, message, as_of).await?)
        }
    })
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
    /// [`FactsLookup::ReadPast`], add the answer; on [`FactsLookup::ReadTarget`], call [`read_target`] and [`Self::keep`].
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
        match self.targets.facts(event, first.as_ref(), target.as_ref()) {
            Ok(mut of_target) => {
                if seeded(Bug::MentionedAgainOnEdit) {
                    of_target.said.extras = Extras::default();
                }
                FactsLookup::Ready(Box::new(domain::Facts { first, target, past, of_target }))
            }
            Err(fact) => FactsLookup::ReadTarget(fact),
        }
    }

    /// Keeps a fact about a target.
    pub fn keep(&mut self, read: TargetRead) {
        match read {
            TargetRead::Emojis(message, emojis) => self.targets.keep_emojis(message, emojis),
            TargetRead::Thread(root, length) => self.targets.keep_thread(root, length),
            TargetRead::Said(message, said) => self.targets.keep_said(message, said),
        }
    }

    /// Applies an event's effects to the conversation.
    pub fn absorb(&mut self, seq: Seq, effects: &domain::Effects, target: Option<&domain::IdRow>) {
        self.state.absorb(seq, &effects.changes);
        self.ids.absorb(seq, &effects.changes, target);
        self.targets.absorb(&effects.changes);
        if seeded(Bug::ThreadCountedInOrdinal) && effects.changes.iter().any(in_thread_alone) {
            self.state.ordinal += 1;
        }
    }
}

fn in_thread_alone(change: &Change) -> bool {
    matches!(change, Change::Thread { of, .. } if !of.also_in_conversation)
}
