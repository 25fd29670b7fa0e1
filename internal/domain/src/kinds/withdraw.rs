//! `withdraw`: the author cancels a command whose outcome is not known.

use super::prelude::*;
use crate::ConversationId;

/// Takes the event's id, so that a command with the same id that arrives later is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdraw;

impl EventKind for Withdraw {
    fn kind(&self) -> Kind {
        Kind::Withdraw
    }

    fn about(&self) -> About<'_> {
        About { target: Target::None, audience: Audience::Author, taken_in: &[], title: None, text_bytes: 0 }
    }

    fn check(&self, _author: UserId) -> Result<(), String> {
        Ok(())
    }

    /// Since version 2, accepted only from current or former members, and from the creator of a group not yet
    /// created: others leave no row behind.
    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        let event = at.event;
        let known = event.rules < 2 || at.member().is_ok() || at.facts.past;
        if known || ConversationId::group(event.author, event.id) == event.conversation {
            Ok(Vec::new())
        } else {
            Err(Refusal::NotMember)
        }
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Withdrawal
    }

    fn hash(&self, _input: &mut HashInput) {}

    fn samples() -> Vec<Self> {
        vec![Self]
    }
}
