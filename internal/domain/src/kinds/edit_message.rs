//! `edit_message`: replaces the text of a message.

use super::prelude::*;

/// Replaces the text of one of the author's own messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditMessage {
    /// The message.
    pub target: CommandId,
    /// Its new text.
    pub body: MessageText,
}

impl EventKind for EditMessage {
    fn kind(&self) -> Kind {
        Kind::EditMessage
    }

    fn about(&self) -> About<'_> {
        About {
            target: Target::Own(self.target),
            audience: Audience::Members,
            taken_in: &[],
            title: None,
            text_bytes: self.body.bytes(),
        }
    }

    fn check(&self, _author: UserId) -> Result<(), String> {
        input::body(&self.body)
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        at.member()?;
        at.body_fits(&self.body)?;
        let (row, slot) = at.own_message()?;
        Ok(vec![Change::Body { id: self.target, seq: row.seq, slot, body: self.body.clone() }])
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.bytes(self.target.as_bytes()).message_text(&self.body);
    }

    fn samples() -> Vec<Self> {
        vec![Self { target: sample::target(), body: "hello!".into() }]
    }
}
