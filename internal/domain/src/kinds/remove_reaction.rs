//! `remove_reaction`: removes a reaction of the author to a message.

use super::prelude::*;
use crate::limits::EMOJI_BYTES_MAX;

/// Removes an emoji from the author's reactions to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveReaction {
    /// The message.
    pub target: CommandId,
    /// The emoji. Records from before version 3 of the rules have none: they remove the one reaction of the author.
    pub emoji: Option<String>,
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
        match &self.emoji {
            Some(emoji) => input::text("emoji", emoji, EMOJI_BYTES_MAX),
            None => Err("the emoji is missing: say which of your reactions to remove".to_owned()),
        }
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        at.member()?;
        let (emoji, change) = match &self.emoji {
            _ if at.event.rules < 3 => ("", ReactionChange::Only),
            Some(emoji) => {
                at.text_fits(emoji, EMOJI_BYTES_MAX)?;
                (emoji.as_str(), ReactionChange::Removed)
            }
            None => return Err(Refusal::Invalid),
        };
        let (row, slot) = at.readable_message()?;
        Ok(vec![Change::Reaction { id: self.target, seq: row.seq, slot, emoji: emoji.to_owned(), change }])
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.bytes(self.target.as_bytes());
        // Hashes of records without an emoji stay as they are.
        if let Some(emoji) = &self.emoji {
            input.text(emoji);
        }
    }

    fn samples() -> Vec<Self> {
        vec![Self { target: sample::target(), emoji: Some("❤️".into()) }]
    }
}
