//! The expected state of a log: the reducer over all of it, with all facts.

use std::collections::BTreeMap;

use domain::{
    Appended, CommandId, ConversationId, ConversationState, Decision, Effects, Event, Facts, IdRow, RULES_TRIAL, Role,
    Seq, TargetCache, UserId, apply, past_of,
};

/// The state of every conversation after the events judged so far.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    conversations: BTreeMap<ConversationId, Known>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    state: ConversationState,
    ids: BTreeMap<CommandId, IdRow>,
    /// Of all messages.
    targets: TargetCache,
    /// Every change of a membership, with the new role; `None` for a leaving.
    memberships: BTreeMap<UserId, Vec<(Seq, Option<Role>)>>,
}

impl Reference {
    /// Judges the next event of the log.
    ///
    /// # Panics
    /// When the event was made under rules newer than this code's.
    pub fn judge(&mut self, event: &Event, appended: Appended) -> Effects {
        let known = self.conversations.entry(event.conversation).or_default();
        let target = event.action.target().and_then(|id| known.ids.get(&id).copied());
        let first = known.ids.get(&event.id).copied();
        let memberships = || known.memberships.get(&event.author).cloned().unwrap_or_default();
        let past = past_of(&known.state, event, first.as_ref(), target.as_ref())
            .is_some_and(|past| past.answer(memberships(), appended.seq.before().unwrap_or_default()));
        // What is not there was never reacted to, has no thread, and mentions nobody.
        let of_target = known.targets.facts(event, first.as_ref(), target.as_ref()).unwrap_or_default();
        let facts = Facts { first, target, past, of_target };
        let effects = apply(&known.state, event, appended, &facts, RULES_TRIAL).expect("the rules are known");
        known.state.absorb(appended.seq, &effects.changes);
        known.targets.absorb(&effects.changes);
        for change in &effects.changes {
            match change {
                domain::Change::Id { id, row } => drop(known.ids.insert(*id, *row)),
                domain::Change::Deleted { id, .. } => {
                    known.ids.entry(*id).and_modify(|row| row.deleted = Some(appended.seq));
                }
                domain::Change::Member { user, role } => {
                    known.memberships.entry(*user).or_default().push((appended.seq, *role));
                }
                _ => {}
            }
        }
        debug_assert!(effects.decision == Decision::Accepted || effects.changes.is_empty());
        effects
    }

    /// A conversation as it is now.
    #[must_use]
    pub fn state(&self, conversation: ConversationId) -> ConversationState {
        self.conversations.get(&conversation).map(|known| known.state.clone()).unwrap_or_default()
    }

    /// Every accepted id of a conversation.
    #[must_use]
    pub fn ids(&self, conversation: ConversationId) -> BTreeMap<CommandId, IdRow> {
        self.conversations.get(&conversation).map(|known| known.ids.clone()).unwrap_or_default()
    }
}
