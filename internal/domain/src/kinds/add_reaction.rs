//! `add_reaction`: the author's reaction to a message.

use super::prelude::*;
use crate::limits::EMOJI_BYTES_MAX;

/// Adds an emoji to the author's reactions to a message. Before version 3 of the rules it replaced the author's earlier
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddReaction {
    /// The message.
    pub target: CommandId,
    /// The emoji.
    pub emoji: String,
}

impl EventKind for AddReaction {
    fn kind(&self) -> Kind {
        Kind::AddReaction
    }

    fn about(&self) -> About<'_> {
        About {
            target: Target::Readable(self.target),
            audience: Audience::Members,
            taken_in: &[],
            title: None,
            text_bytes: self.emoji.len(),
        }
    }

    fn check(&self, _author: UserId) -> Result<(), String> {
        input::text("emoji", &self.emoji, EMOJI_BYTES_MAX)
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        at.member()?;
        at.text_fits(&self.emoji, EMOJI_BYTES_MAX)?;
        let (row, slot) = at.readable_message()?;
        let change = if at.event.rules < 3 { ReactionChange::Only } else { at.reaction_added()? };
        Ok(vec![Change::Reaction { id: self.target, seq: row.seq, slot, emoji: self.emoji.clone(), change }])
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.bytes(self.target.as_bytes()).text(&self.emoji);
    }

    fn samples() -> Vec<Self> {
        vec![Self { target: sample::target(), emoji: "❤️".into() }]
    }
}
