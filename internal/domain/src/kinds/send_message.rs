//! `send_message`: sends a message.

use super::prelude::*;
use crate::state::one_more;

/// Sends a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// The text.
    pub body: MessageText,
    /// The message that this one answers. It is not checked: it may be deleted before this one is read.
    pub reply_to: Option<CommandId>,
}

impl EventKind for SendMessage {
    fn kind(&self) -> Kind {
        Kind::SendMessage
    }

    fn about(&self) -> About<'_> {
        About {
            target: Target::None,
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
        let content = Content::Message { body: self.body.clone(), reply_to: self.reply_to };
        Ok(vec![Change::Timeline { slot: at.state.slot, ordinal: one_more(at.state.ordinal), content }])
    }

    fn stands(&self, slot: u64) -> Stands {
        Stands::Message { slot }
    }

    fn hash(&self, input: &mut HashInput) {
        input.message_text(&self.body).optional(self.reply_to.as_ref().map(|id| id.as_bytes().as_slice()));
    }

    fn samples() -> Vec<Self> {
        let reply_to = Some(sample::target());
        vec![Self { body: "hello\n👋".into(), reply_to: None }, Self { body: "yes".into(), reply_to }]
    }
}
