//! What is known of messages that events are about, in memory: the emojis that they have taken, and how long the threads
//! under them are. The cache only saves reads: a message that it does not know is read from the store.

use std::collections::{BTreeMap, BTreeSet};

use crate::kinds::AddReaction;
use crate::reducer::TargetFact;
use crate::{Action, Change, Emojis, Event, IdRow, ReactionChange, Seq};

/// Messages of a conversation of which each kind of fact stays in memory after a [`TargetCache::shrink`].
pub const TARGET_CACHE_MESSAGES_MAX: usize = 256;

/// Facts about some messages of one conversation, by the message's seq.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetCache {
    emojis: BTreeMap<Seq, BTreeSet<String>>,
    threads: BTreeMap<Seq, u64>,
}

impl TargetCache {
    /// The facts about `event`, of which [`crate::Facts`] has the same: emojis, and the length of the thread. `first` and
    /// `target` are those of [`crate::Facts`].
    ///
    /// # Errors
    /// What must be read as of the event before, and kept.
    pub fn facts(
        &self,
        event: &Event,
        first: Option<&IdRow>,
        target: Option<&IdRow>,
    ) -> Result<(Emojis, u64), TargetFact> {
        let (none, fact) = (Emojis::default(), TargetFact::of(event, first, target));
        match (fact, &event.action) {
            (Some(fact @ TargetFact::Emojis(seq, _)), Action::AddReaction(AddReaction { emoji, .. })) => {
                self.emojis(seq, emoji).map(|emojis| (emojis, 0)).ok_or(fact)
            }
            (Some(fact @ TargetFact::Thread(root)), _) => {
                self.threads.get(&root).map(|length| (none, *length)).ok_or(fact)
            }
            (Some(TargetFact::Emojis(..)) | None, _) => Ok((none, 0)),
        }
    }

    fn emojis(&self, message: Seq, emoji: &str) -> Option<Emojis> {
        let emojis = self.emojis.get(&message)?;
        Some(Emojis { has_it: emojis.contains(emoji), count: emojis.len() })
    }

    /// Keeps the emojis of a message as they were read.
    pub fn keep_emojis(&mut self, message: Seq, emojis: impl IntoIterator<Item = String>) {
        self.emojis.insert(message, emojis.into_iter().collect());
    }

    /// Keeps the length of a thread as it was read.
    pub fn keep_thread(&mut self, root: Seq, length: u64) {
        self.threads.insert(root, length);
    }

    /// Takes in what an event has changed. What it changes is in memory then: the event could not have been judged
    /// otherwise.
    pub fn absorb(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Reaction { seq, emoji, change: ReactionChange::Added { is_new: true }, .. } => {
                    self.emojis.entry(*seq).or_default().insert(emoji.clone());
                }
                Change::Thread { of, ordinal, .. } => drop(self.threads.insert(of.root_seq, *ordinal)),
                _ => {}
            }
        }
    }

    /// Drops the facts of the oldest messages, down to `messages_max` of each kind. Call it only when all rows are
    /// flushed to the store.
    pub fn shrink(&mut self, messages_max: usize) {
        while self.emojis.len() > messages_max {
            self.emojis.pop_first();
        }
        while self.threads.len() > messages_max {
            self.threads.pop_first();
        }
    }

    /// Whether a [`Self::shrink`] to as many would drop anything.
    #[must_use]
    pub fn exceeds(&self, messages_max: usize) -> bool {
        self.emojis.len() > messages_max || self.threads.len() > messages_max
    }

    /// The number of facts in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.emojis.len() + self.threads.len()
    }

    /// Whether nothing is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CommandId, InThread};

    fn seq(n: u64) -> Seq {
        Seq::try_from(n).unwrap()
    }

    #[test]
    fn what_is_new_is_added_and_the_oldest_messages_go_first() {
        let mut cache = TargetCache::default();
        assert_eq!(cache.emojis(seq(1), "a"), None);
        (1..=3).for_each(|message| cache.keep_emojis(seq(message), ["a".to_owned()]));
        let added = |is_new| Change::Reaction {
            id: CommandId::first_at(1),
            seq: seq(2),
            slot: 0,
            emoji: "b".into(),
            change: ReactionChange::Added { is_new },
        };
        cache.absorb(&[added(false)]);
        assert_eq!(cache.emojis(seq(2), "b"), Some(Emojis { has_it: false, count: 1 }));
        cache.absorb(&[added(true)]);
        assert_eq!(cache.emojis(seq(2), "b"), Some(Emojis { has_it: true, count: 2 }));
        (1..=3).for_each(|root| cache.keep_thread(seq(root), root));
        assert!(cache.exceeds(2) && !cache.exceeds(3));
        cache.shrink(2);
        assert_eq!((cache.len(), cache.is_empty(), cache.emojis(seq(1), "a")), (4, false, None));
        assert!(cache.emojis(seq(3), "a").is_some());
    }

    #[test]
    fn a_thread_is_as_long_as_its_last_message_says() {
        let mut cache = TargetCache::default();
        let of = InThread { root_seq: seq(3), root_slot: 1, also_in_conversation: false };
        cache.absorb(&[Change::Thread { of, slot: 9, ordinal: 7 }]);
        assert_eq!(cache.threads, BTreeMap::from([(seq(3), 7)]));
    }
}
