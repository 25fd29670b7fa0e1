//! The conversations that a consumer keeps in memory, per partition: bounded, and economy only. Whatever is evicted is
//! loaded again.

use domain::{ConversationId, ID_CACHE_ROWS_MAX};
use lru::LruCache;

use crate::Loaded;

/// Conversations that a partition keeps in memory.
const CONVERSATIONS_MAX: usize = 4096;
/// Members and ids that a partition keeps in memory, over all conversations: some 100 MiB.
const WEIGHT_MAX: usize = 1 << 20;

/// A conversation, as far as this consumer has come.
#[derive(Debug)]
pub enum Slot {
    /// Its next event cannot be judged by this program: what comes is skipped under the hold.
    Held,
    /// Judged up to the last event.
    Ready(Box<Loaded>),
}

/// Conversations by how lately they were used.
#[derive(Debug)]
pub struct Conversations {
    /// The least lately used goes first.
    slots: LruCache<ConversationId, Slot>,
}

impl Conversations {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: LruCache::unbounded() }
    }

    /// Whether it is in memory.
    #[must_use]
    pub fn contains(&self, conversation: ConversationId) -> bool {
        self.slots.contains(&conversation)
    }

    /// Takes the conversation out, to be put back.
    pub fn take(&mut self, conversation: ConversationId) -> Option<Slot> {
        self.slots.pop(&conversation)
    }

    /// Puts it in, in place of what is there.
    pub fn put(&mut self, conversation: ConversationId, slot: Slot) {
        self.slots.put(conversation, slot);
    }

    /// Forgets it.
    pub fn remove(&mut self, conversation: ConversationId) {
        self.slots.pop(&conversation);
    }

    /// Brings the conversations back inside their bounds. Storage calls it only when everything in here is flushed.
    pub fn shrink(&mut self) {
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

impl Default for Conversations {
    fn default() -> Self {
        Self::new()
    }
}
