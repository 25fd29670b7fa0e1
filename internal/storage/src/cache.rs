//! The conversations in memory: bounded, and economy only. Whatever is evicted is loaded again as of `applied`.

use domain::{ConversationId, ID_CACHE_ROWS_MAX};
use lru::LruCache;
use store::Loaded;

/// Conversations that a partition keeps in memory.
const CONVERSATIONS_MAX: usize = 4096;
/// Members and ids that a partition keeps in memory, over all conversations: some 100 MiB.
const WEIGHT_MAX: usize = 1 << 20;

/// A conversation, as far as this consumer has come.
#[derive(Debug)]
pub(crate) enum Slot {
    /// Its next event cannot be judged by this program: what comes is skipped under the hold.
    Held,
    /// Judged up to the last event.
    Ready(Box<Loaded>),
}

#[derive(Debug)]
pub(crate) struct Cache {
    slots: LruCache<ConversationId, Slot>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self { slots: LruCache::unbounded() }
    }

    pub(crate) fn contains(&self, conversation: ConversationId) -> bool {
        self.slots.contains(&conversation)
    }

    /// Takes the conversation out, to be put back.
    pub(crate) fn take(&mut self, conversation: ConversationId) -> Option<Slot> {
        self.slots.pop(&conversation)
    }

    pub(crate) fn put(&mut self, conversation: ConversationId, slot: Slot) {
        self.slots.put(conversation, slot);
    }

    pub(crate) fn remove(&mut self, conversation: ConversationId) {
        self.slots.pop(&conversation);
    }

    /// Brings the cache back inside its bounds. Only when everything in it is flushed.
    pub(crate) fn shrink(&mut self) {
        let mut weight: usize = 0;
        for (_, slot) in self.slots.iter_mut() {
            if let Slot::Ready(loaded) = slot {
                loaded.ids.shrink(ID_CACHE_ROWS_MAX);
                weight += loaded.state.members.len() + loaded.ids.len();
            }
        }
        while self.slots.len() > CONVERSATIONS_MAX || weight > WEIGHT_MAX {
            let Some((_, slot)) = self.slots.pop_lru() else { break };
            if let Slot::Ready(loaded) = slot {
                weight -= loaded.state.members.len() + loaded.ids.len();
            }
        }
    }
}
