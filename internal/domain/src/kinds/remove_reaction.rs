//! `remove_reaction`: removes the author's reaction to a message.

use super::prelude::*;

/// Removes the author's reaction to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveReaction {
    /// The message.
    pub target: CommandId,
}

impl EventKind for RemoveReaction {
    fn kind(&self) -> Kind {
        Kind::RemoveReaction
    }

    fn about(&self) -> About<'_> {
        About {
            target: Target::Readable(self.target),
            audience: Audience::Members,
            taken_in: &[],
            title: None,
            text_bytes: 0,
        }
    }

    fn check(&self, _author: UserId) -> Result<(), String> {
        Ok(())
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        at.member()?;
        let (row, slot) = at.readable_message()?;
        Ok(vec![Change::Reaction { id: self.target, seq: row.seq, slot, emoji: String::new() }])
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.bytes(self.target.as_bytes());
    }

    fn samples() -> Vec<Self> {
        vec![Self { target: sample::target() }]
    }
}
