//! `edit_message`: a message has another text.

use super::prelude::*;
use crate::limits::BODY_BYTES_MAX;

/// Gives a message of the author's own another text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditMessage {
    /// The message.
    pub target: CommandId,
    /// Its new text.
    pub body: String,
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
            text_bytes: self.body.len(),
        }
    }

    fn check(&self, _author: UserId) -> Result<(), String> {
        input::text("body", &self.body, BODY_BYTES_MAX)
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        at.member()?;
        at.text_fits(&self.body, BODY_BYTES_MAX)?;
        let (row, place) = at.own_message()?;
        Ok(vec![Change::Body { id: self.target, seq: row.seq, place, body: self.body.clone() }])
    }

    fn stands(&self, _place: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.bytes(self.target.as_bytes()).text(&self.body);
    }

    fn samples() -> Vec<Self> {
        vec![Self { target: sample::target(), body: "hello!".into() }]
    }
}
