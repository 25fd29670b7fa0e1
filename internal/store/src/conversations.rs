//! The cache of conversations that a consumer keeps in memory, per partition. It is bounded and only saves reads:
//! an evicted conversation is loaded again.

use std::collections::BTreeSet;

use domain::{ConversationId, ID_CACHE_ROWS_MAX, TARGET_CACHE_MESSAGES_MAX};
use lru::LruCache;

use crate::Loaded;

/// Conversations that a partition keeps in memory.
const CONVERSATIONS_MAX: usize = 4096;
/// Members, ids and facts about messages that a partition keeps in memory, over all conversations: about 100 MiB.
const WEIGHT_MAX: usize = 1 << 20;

/// A conversation as of the consumer's position.
#[derive(Debug)]
pub enum CacheEntry {
    /// This program cannot judge its next event: later events are skipped under the hold.
    Held,
    /// Judged up to its last event.
    Ready(Box<Loaded>),
}

/// Conversations by last use.
#[derive(Debug)]
pub struct Conversations {
    /// The least recently used is evicted first.
    entries: LruCache<ConversationId, CacheEntry>,
    /// The total weight of the entries. An entry only changes by being taken out and put back.
    weight: usize,
    /// Conversations that were put in with more ids or facts than they may keep; some of them may be evicted by now.
    swollen: BTreeSet<ConversationId>,
}

impl CacheEntry {
    fn weight(&self) -> usize {
        match self {
            Self::Held => 0,
            Self::Ready(loaded) => loaded.state.members.len() + loaded.ids.len() + loaded.targets.len(),
        }
    }

    /// Whether it has more ids or facts than it may keep.
    fn is_swollen(&self) -> bool {
        match self {
            Self::Held => false,
            Self::Ready(loaded) => {
                loaded.ids.len() > ID_CACHE_ROWS_MAX || loaded.targets.exceeds(TARGET_CACHE_MESSAGES_MAX)
            }
        }
    }
}

impl Conversations {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: LruCache::unbounded(), weight: 0, swollen: BTreeSet::new() }
    }

    /// Whether it is in memory.
    #[must_use]
    pub fn contains(&self, conversation: ConversationId) -> bool {
        self.entries.contains(&conversation)
    }

    /// Takes the conversation out; the caller puts it back.
    pub fn take(&mut self, conversation: ConversationId) -> Option<CacheEntry> {
        let entry = self.entries.pop(&conversation)?;
        self.weight -= entry.weight();
        Some(entry)
    }

    /// Puts the conversation in, replacing the one that is there.
    pub fn put(&mut self, conversation: ConversationId, entry: CacheEntry) {
        if entry.is_swollen() {
            self.swollen.insert(conversation);
        }
        self.weight += entry.weight();
        self.weight -= self.entries.put(conversation, entry).map_or(0, |before| before.weight());
    }

    /// Removes the conversation.
    pub fn remove(&mut self, conversation: ConversationId) {
        self.take(conversation);
    }

    /// Evicts conversations and ids down to the bounds; costs nothing when no bound is exceeded. Storage calls it
    /// only when every row in the cache is flushed.
    pub fn shrink(&mut self) {
        self.shrink_to(CONVERSATIONS_MAX, WEIGHT_MAX);
    }

    fn shrink_to(&mut self, conversations_max: usize, weight_max: usize) {
        for conversation in std::mem::take(&mut self.swollen) {
            let Some(entry) = self.entries.peek_mut(&conversation) else { continue };
            self.weight -= entry.weight();
            if let CacheEntry::Ready(loaded) = entry {
                loaded.ids.shrink(ID_CACHE_ROWS_MAX);
                loaded.targets.shrink(TARGET_CACHE_MESSAGES_MAX);
            }
            self.weight += entry.weight();
        }
        while self.entries.len() > conversations_max || self.weight > weight_max {
            let Some((_, entry)) = self.entries.pop_lru() else { break };
            self.weight -= entry.weight();
        }
    }
}

impl Default for Conversations {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        CommandId, ConversationState, IdCache, IdRow, Membership, PayloadHash, Role, Seq, Stands, TargetCache, UserId,
    };
    use environment::Entropy;
    use uuid::Uuid;

    use super::*;

    fn user(number: u64) -> UserId {
        UserId::try_from(Uuid::from_u128(u128::from(number))).unwrap()
    }

    fn row() -> IdRow {
        let (author, seq, hash) = (user(0), Seq::default(), PayloadHash([0; 16]));
        IdRow { author, seq, hash, stands: Stands::Command, thread: None, deleted: None }
    }

    fn loaded(members: u64, ids: u64) -> CacheEntry {
        let membership = Membership { role: Role::Member, since: Seq::default(), changed: Seq::default() };
        let members = (0..members).map(|number| (user(number), membership)).collect();
        let rows = (0..ids).map(|number| (CommandId::first_at(i64::try_from(number).unwrap()), row()));
        let state = ConversationState { members, ..ConversationState::default() };
        let (ids, targets) = (IdCache::new(0, rows), TargetCache::default());
        CacheEntry::Ready(Box::new(Loaded { state, ids, targets }))
    }

    /// The sum that `weight` must equal.
    fn sum(conversations: &Conversations) -> usize {
        conversations.entries.iter().map(|(_, entry)| entry.weight()).sum()
    }

    #[test]
    fn the_weight_is_that_of_what_is_in_memory_and_the_bounds_hold() {
        const ROWS_MAX: u64 = ID_CACHE_ROWS_MAX as u64;
        let (entropy, mut conversations) = (Entropy::seeded(1), Conversations::new());
        for _ in 0..2_000 {
            let conversation = ConversationId::direct(user(0), user(entropy.below(30)));
            match entropy.below(16) {
                0..8 => conversations.put(conversation, loaded(entropy.below(50), entropy.below(50))),
                8 => conversations.put(conversation, loaded(1, ROWS_MAX - 1 + entropy.below(4))),
                9 => conversations.put(conversation, CacheEntry::Held),
                10 => conversations.remove(conversation),
                11..15 => {
                    if let Some(CacheEntry::Ready(mut loaded)) = conversations.take(conversation) {
                        loaded.ids.keep(CommandId::first_at(1_000_000), row());
                        let message = Seq::try_from(entropy.below(500)).unwrap();
                        loaded.targets.keep_emojis(message, []);
                        conversations.put(conversation, CacheEntry::Ready(loaded));
                    }
                }
                _ => {
                    let (conversations_max, weight_max) = (20, 8_000);
                    conversations.shrink_to(conversations_max, weight_max);
                    assert!(conversations.entries.len() <= conversations_max && conversations.weight <= weight_max);
                    assert!(conversations.entries.iter().all(|(_, entry)| !entry.is_swollen()));
                }
            }
            assert_eq!(conversations.weight, sum(&conversations));
        }
    }

    #[test]
    fn the_least_lately_used_go_first_and_what_fits_stays() {
        let mut conversations = Conversations::new();
        let ids: Vec<_> = (0..4).map(|number| ConversationId::direct(user(0), user(number))).collect();
        ids.iter().for_each(|id| conversations.put(*id, loaded(10, 0)));
        let used = conversations.take(ids[0]).unwrap();
        conversations.put(ids[0], used);
        let there =
            |conversations: &Conversations| ids.iter().map(|id| conversations.contains(*id)).collect::<Vec<_>>();
        conversations.shrink_to(4, 40);
        assert_eq!(there(&conversations), [true; 4]);
        conversations.shrink_to(3, 40);
        assert_eq!(there(&conversations), [true, false, true, true]);
        conversations.shrink_to(3, 29);
        assert_eq!(there(&conversations), [true, false, false, true]);
    }
}
