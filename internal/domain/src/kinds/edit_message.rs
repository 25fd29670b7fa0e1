//! `edit_message`: replaces what a message says.

use super::prelude::*;

/// Replaces what one of the author's own messages says: its text and, since version 3 of the rules, its mentions and custom
/// content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditMessage {
    /// The message.
    pub target: CommandId,
    /// What it says from now on.
    pub body: MessageBody,
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
        let role = at.member()?;
        at.body_fits(&self.body)?;
        let (row, slot) = at.own_message()?;
        let said = &at.facts.of_target.said;
        at.may_mention(role, &said.extras.mentions, &self.body.mentions)?;
        let edit = at.kept_edit()?;
        let (kept, whole) = (edit.is_some(), said.was_more() || !self.body.is_plain());
        let body = Change::Body { id: self.target, seq: row.seq, slot, body: self.body.clone(), kept, whole };
        let extras = at.extras((row.seq, slot), row.author, (&said.extras, self.body.extras()), edit);
        Ok(std::iter::once(body).chain(extras).collect())
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.bytes(self.target.as_bytes()).message_text(&self.body.text).beside_text(&self.body);
    }

    fn samples() -> Vec<Self> {
        [MessageBody::from("hello!"), sample::body()].map(|body| Self { target: sample::target(), body }).into()
    }
}
