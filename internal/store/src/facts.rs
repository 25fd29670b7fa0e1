//! Loading a conversation and its facts as of a place in the log, for both consumers.

use domain::{ConversationId, ConversationState, Event, ID_CACHE_SPAN_MS, IdCache, Lookup, Seq};
use host::teeth::{Bug, bites};

use crate::{ChatStore, StoreError};

/// A conversation in memory: its state, and the ids accepted lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// As of the last event that was applied to it.
    pub state: ConversationState,
    /// The id cache.
    pub ids: IdCache,
}

/// Loads a conversation as of `as_of`, for an event appended at `append_time_ms`.
///
/// The caller has seen `applied >= as_of`, and then that the conversation is not held.
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
    let as_of = if bites(Bug::LatestInsteadOfAsOf) { Seq::try_from((1_u64 << 50) - 1).unwrap_or(as_of) } else { as_of };
    let mut state = store.conversation(conversation, as_of).await?;
    if bites(Bug::OrdinalFromMemory) {
        state.ordinal = 0;
    }
    let rows = store.ids_from(conversation, t0_ms, as_of).await?;
    Ok(Loaded { state, ids: IdCache::new(t0_ms, rows) })
}

/// The facts of an event, where memory has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facts {
    /// Exact.
    Ready(domain::Facts),
    /// An id is older than the cache: it must be read, as of the event before, and kept.
    Read(domain::CommandId),
}

impl Loaded {
    /// The facts of `event` as far as memory is exact. On [`Facts::Read`], read that id, [`IdCache::keep`] the row if
    /// there is one, and pass the ids found absent in `absent`.
    #[must_use]
    pub fn facts(&self, event: &Event, absent: &[domain::CommandId]) -> Facts {
        let mut found = [None, None];
        let mut own = Some(event.id);
        if bites(Bug::NoDuplicateFilter) {
            own = None;
        } else if bites(Bug::FilterOnWrongKey) {
            own = event.action.target();
        }
        for (slot, id) in found.iter_mut().zip([own, event.action.target()]) {
            let Some(id) = id else { continue };
            match self.ids.lookup(id) {
                Lookup::Known(row) => *slot = row,
                Lookup::Read if absent.contains(&id) => {}
                Lookup::Read => return Facts::Read(id),
            }
        }
        let [first, target] = found;
        Facts::Ready(domain::Facts { first, target })
    }

    /// Brings the conversation behind an event's effects.
    pub fn absorb(&mut self, seq: Seq, effects: &domain::Effects, target: Option<&domain::IdRow>) {
        self.state.absorb(seq, &effects.changes);
        self.ids.absorb(seq, &effects.changes, target);
    }
}
