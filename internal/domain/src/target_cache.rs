//! What is known of messages that events are about, in memory: the emojis that they have taken, how long the threads
//! under them are, and what they say, as far as that matters. The cache only saves reads: a message that it does not know is read from the store.

use std::collections::{BTreeMap, BTreeSet};

use crate::kinds::AddReaction;
use crate::reducer::{TargetFact, TargetFacts};
use crate::{Action, Change, Emojis, Event, IdRow, ReactionChange, Said, Seq};

/// Messages of a conversation of which each kind of fact stays in memory after a [`TargetCache::shrink`].
pub const TARGET_CACHE_MESSAGES_MAX: usize = 256;

/// Facts about some messages of one conversation, by the message's seq.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetCache {
    /// Of messages behind it everything is in memory: what is not there, the message does not have. `None`: of none.
    since: Option<Seq>,
    emojis: BTreeMap<Seq, BTreeSet<String>>,
    threads: BTreeMap<Seq, u64>,
    said: BTreeMap<Seq, Said>,
}

/// How much what a message says weighs beside other facts: most mention few users, and some were edited a hundred times.
const SAID_WEIGHT: usize = 24;

impl TargetCache {
    /// The cache of a conversation that was loaded as of `as_of`: all events behind it will be absorbed.
    #[must_use]
    pub fn since(as_of: Seq) -> Self {
        Self { since: Some(as_of), ..Self::default() }
    }

    /// The facts about the target of `event`. `first` and `target` are those of [`crate::Facts`].
    ///
    /// # Errors
    /// What must be read as of the event before, and kept.
    pub fn facts(
        &self,
        event: &Event,
        first: Option<&IdRow>,
        target: Option<&IdRow>,
    ) -> Result<TargetFacts, TargetFact> {
        let mut facts = TargetFacts::default();
        match (TargetFact::of(event, first, target), &event.action) {
            (Some(fact @ TargetFact::Emojis(seq, _)), Action::AddReaction(AddReaction { emoji, .. })) => {
                facts.emojis = self.known(self.emojis(seq, emoji), seq).ok_or(fact)?;
            }
            (Some(fact @ TargetFact::Thread(root)), _) => {
                facts.thread = self.known(self.threads.get(&root).copied(), root).ok_or(fact)?;
            }
            (Some(fact @ TargetFact::Said(seq, _)), _) => {
                facts.said = self.known(self.said.get(&seq).cloned(), seq).ok_or(fact)?;
            }
            (Some(TargetFact::Emojis(..)) | None, _) => {}
        }
        Ok(facts)
    }

    /// What is in memory of the message at that seq, or that it has nothing.
    fn known<T: Default>(&self, found: Option<T>, message: Seq) -> Option<T> {
        found.or_else(|| self.since.is_some_and(|since| since < message).then(T::default))
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

    /// Keeps what a message says as it was read.
    pub fn keep_said(&mut self, message: Seq, said: Said) {
        self.said.insert(message, said);
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
                Change::Extras { seq, now, edit, .. } => {
                    let said = self.said.entry(*seq).or_default();
                    said.extras.clone_from(now);
                    said.edits.extend(*edit);
                }
                _ => {}
            }
        }
    }

    /// Drops the facts of the oldest messages, down to `messages_max` of each kind. Call it only when all rows are
    /// flushed to the store.
    pub fn shrink(&mut self, messages_max: usize) {
        let mut dropped = None;
        while self.emojis.len() > messages_max {
            dropped = dropped.max(self.emojis.pop_first().map(|(seq, _)| seq));
        }
        while self.threads.len() > messages_max {
            dropped = dropped.max(self.threads.pop_first().map(|(seq, _)| seq));
        }
        while self.said.len() > messages_max {
            dropped = dropped.max(self.said.pop_first().map(|(seq, _)| seq));
        }
        self.since = self.since.map(|since| dropped.map_or(since, |dropped| dropped.max(since)));
    }

    /// Whether a [`Self::shrink`] to as many would drop anything.
    #[must_use]
    pub fn exceeds(&self, messages_max: usize) -> bool {
        [self.emojis.len(), self.threads.len(), self.said.len()].into_iter().any(|len| len > messages_max)
    }

    /// The weight of what is in memory, about in facts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.emojis.len() + self.threads.len() + self.said.len() * SAID_WEIGHT
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

    /// In a conversation that goes on, only what is about old messages is read.
    #[test]
    fn of_messages_behind_the_loading_everything_is_known_until_it_is_dropped() {
        let mut cache = TargetCache::since(seq(10));
        assert_eq!((cache.known::<u64>(None, seq(10)), cache.known::<u64>(None, seq(11))), (None, Some(0)));
        let of = |root| InThread { root_seq: seq(root), root_slot: 1, also_in_conversation: false };
        for root in [20, 30, 40] {
            cache.absorb(&[Change::Thread { of: of(root), slot: 9, ordinal: 1 }]);
        }
        cache.shrink(1);
        assert_eq!((cache.known::<u64>(None, seq(30)), cache.known::<u64>(None, seq(31))), (None, Some(0)));
        assert_eq!(TargetCache::default().known::<u64>(None, seq(99)), None);
    }
}
