//! The emojis that messages have taken, in memory. The cache only saves reads: a message that it does not know is read
//! from the store.

use std::collections::{BTreeMap, BTreeSet};

use crate::kinds::AddReaction;
use crate::reducer::emojis_of;
use crate::{Action, Change, Emojis, Event, IdRow, ReactionChange, Seq};

/// Messages of a conversation whose emojis stay in memory after an [`EmojiCache::shrink`].
pub const EMOJI_CACHE_MESSAGES_MAX: usize = 256;

/// The emojis of some messages of one conversation, by the message's seq.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmojiCache {
    messages: BTreeMap<Seq, BTreeSet<String>>,
}

impl EmojiCache {
    /// The fact about `event`; its `first` and `target` are those of [`crate::Facts`].
    ///
    /// # Errors
    /// The seq and slot of the message whose emojis must be read as of the event before, and kept.
    pub fn fact(&self, event: &Event, first: Option<&IdRow>, target: Option<&IdRow>) -> Result<Emojis, (Seq, u64)> {
        match (&event.action, emojis_of(event, first, target)) {
            (Action::AddReaction(AddReaction { emoji, .. }), Some((seq, slot))) => {
                self.lookup(seq, emoji).ok_or((seq, slot))
            }
            _ => Ok(Emojis::default()),
        }
    }

    fn lookup(&self, message: Seq, emoji: &str) -> Option<Emojis> {
        let emojis = self.messages.get(&message)?;
        Some(Emojis { has_it: emojis.contains(emoji), count: emojis.len() })
    }

    /// Keeps the emojis of a message as they were read.
    pub fn keep(&mut self, message: Seq, emojis: impl IntoIterator<Item = String>) {
        self.messages.insert(message, emojis.into_iter().collect());
    }

    /// Adds the emojis that are new to a message. It is in memory then: the event could not have been judged otherwise.
    pub fn absorb(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Reaction { seq, emoji, change: ReactionChange::Added { is_new: true }, .. } = change {
                self.messages.entry(*seq).or_default().insert(emoji.clone());
            }
        }
    }

    /// Drops the oldest messages down to `messages_max`. Call it only when all emojis are flushed to the store.
    pub fn shrink(&mut self, messages_max: usize) {
        while self.messages.len() > messages_max {
            self.messages.pop_first();
        }
    }

    /// The number of messages in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether no message is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CommandId;

    fn seq(n: u64) -> Seq {
        Seq::try_from(n).unwrap()
    }

    #[test]
    fn what_is_new_is_added_and_the_oldest_messages_go_first() {
        let mut cache = EmojiCache::default();
        assert_eq!(cache.lookup(seq(1), "a"), None);
        (1..=3).for_each(|message| cache.keep(seq(message), ["a".to_owned()]));
        let added = |is_new| Change::Reaction {
            id: CommandId::first_at(1),
            seq: seq(2),
            slot: 0,
            emoji: "b".into(),
            change: ReactionChange::Added { is_new },
        };
        cache.absorb(&[added(false)]);
        assert_eq!(cache.lookup(seq(2), "b"), Some(Emojis { has_it: false, count: 1 }));
        cache.absorb(&[added(true)]);
        assert_eq!(cache.lookup(seq(2), "b"), Some(Emojis { has_it: true, count: 2 }));
        cache.shrink(2);
        assert_eq!((cache.len(), cache.is_empty(), cache.lookup(seq(1), "a")), (2, false, None));
        assert!(cache.lookup(seq(3), "a").is_some());
    }
}
