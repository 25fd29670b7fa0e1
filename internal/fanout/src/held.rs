//! Since when conversations are held: for the metrics only. Which conversations are held, the store says.

use std::collections::{BTreeMap, BTreeSet};

use domain::ConversationId;

/// Held conversations of one partition that are remembered. Further ones are not counted until others are re-driven.
const REMEMBERED_MAX: usize = 10_000;

/// The held conversations that this process knows of, with the append time of the first event that waits in each. After
/// a restart they become known when they are re-driven, which a new owner begins with.
#[derive(Debug, Default)]
pub(crate) struct HeldSince {
    since_ms: BTreeMap<ConversationId, i64>,
    order: BTreeSet<(i64, ConversationId)>,
}

impl HeldSince {
    /// The conversation is held; the first event that waits was appended then.
    pub(crate) fn begin(&mut self, conversation: ConversationId, appended_ms: i64) {
        self.end(conversation);
        if self.since_ms.len() < REMEMBERED_MAX {
            self.since_ms.insert(conversation, appended_ms);
            self.order.insert((appended_ms, conversation));
        }
    }

    /// The conversation is not held any more.
    pub(crate) fn end(&mut self, conversation: ConversationId) {
        if let Some(appended_ms) = self.since_ms.remove(&conversation) {
            self.order.remove(&(appended_ms, conversation));
        }
    }

    /// The append time of the earliest event that waits.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.order.first().map(|(appended_ms, _)| *appended_ms)
    }

    pub(crate) fn len(&self) -> usize {
        self.since_ms.len()
    }
}

#[cfg(test)]
mod tests {
    use domain::UserId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_oldest_hold_counts_until_it_is_over() {
        let user = |number| UserId::try_from(Uuid::from_u128(number)).unwrap();
        let conversation = |number| ConversationId::direct(user(number), user(number));
        let mut held = HeldSince::default();
        assert_eq!(held.oldest_ms(), None);
        for number in 1..=REMEMBERED_MAX as i64 + 5 {
            held.begin(conversation(number as u128), 1_000 + number);
        }
        assert_eq!((held.oldest_ms(), held.len()), (Some(1_001), REMEMBERED_MAX));
        held.end(conversation(1));
        held.begin(conversation(2), 5);
        assert_eq!((held.oldest_ms(), held.len()), (Some(5), REMEMBERED_MAX - 1));
        held.end(conversation(2));
        assert_eq!(held.oldest_ms(), Some(1_003));
    }
}
