//! The conversations that an audit compares.

use std::collections::BTreeSet;

use domain::ConversationId;
use sha2::{Digest, Sha256};

/// The most conversations that a [`Bounded`] set holds.
const BOUNDED_MAX: usize = 1 << 16;

/// A percentage of all conversations, the same ones in every audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// From 1 to 100.
    pub percent: u8,
}

/// The conversations to audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conversations {
    /// All of them.
    All,
    /// A sample, chosen by a hash of the ids.
    Sample(Sample),
    /// The listed ones.
    These(BTreeSet<ConversationId>),
}

impl Conversations {
    /// Whether that conversation is selected.
    #[must_use]
    pub fn contains(&self, conversation: ConversationId) -> bool {
        match self {
            Self::All => true,
            Self::Sample(Sample { percent }) => {
                let digest = Sha256::digest(conversation.as_bytes());
                u16::from_be_bytes([digest[0], digest[1]]) % 100 < u16::from(*percent)
            }
            Self::These(some) => some.contains(&conversation),
        }
    }
}

/// A bounded set of conversations; a full set counts every conversation as a member.
#[derive(Debug, Default)]
pub(super) struct Bounded(BTreeSet<ConversationId>);

impl Bounded {
    pub(super) fn insert(&mut self, conversation: ConversationId) {
        if self.0.len() < BOUNDED_MAX {
            self.0.insert(conversation);
        }
    }

    pub(super) fn contains(&self, conversation: ConversationId) -> bool {
        self.0.len() >= BOUNDED_MAX || self.0.contains(&conversation)
    }
}

#[cfg(test)]
mod tests {
    use domain::{CommandId, UserId};

    use super::*;

    #[test]
    fn a_sample_is_about_as_large_as_asked_and_always_the_same() {
        let user: UserId = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let all = (0..2000).map(|n| ConversationId::group(user, CommandId::first_at(n)));
        let some = Conversations::Sample(Sample { percent: 20 });
        let chosen: Vec<ConversationId> = all.clone().filter(|one| some.contains(*one)).collect();
        assert!((300..500).contains(&chosen.len()), "{}", chosen.len());
        assert!(all.clone().all(|one| Conversations::Sample(Sample { percent: 100 }).contains(one)));
        assert!(chosen.iter().all(|one| some.contains(*one)));
    }
}
