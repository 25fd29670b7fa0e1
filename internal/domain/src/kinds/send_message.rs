//! `send_message`: sends a message.

use super::prelude::*;
use crate::state::one_more;
use crate::{InThread, ThreadPlace};

/// Sends a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// The text.
    pub body: MessageText,
    /// The message that this one answers. It is not checked: it may be deleted before this one is read.
    pub reply_to: Option<CommandId>,
    /// The thread that it is sent into; `None` for the main view. Since version 3 of the rules.
    pub thread: Option<IntoThread>,
}

/// The thread that a message is sent into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntoThread {
    /// The root: a message that is in no thread itself.
    pub root: CommandId,
    /// Whether the message is in the conversation's main view as well.
    pub also_in_conversation: bool,
}

impl EventKind for SendMessage {
    fn kind(&self) -> Kind {
        Kind::SendMessage
    }

    fn about(&self) -> About<'_> {
        About {
            target: self.thread.map_or(Target::None, |thread| Target::Readable(thread.root)),
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
        let (body, reply_to) = (self.body.clone(), self.reply_to);
        let Some(IntoThread { root, also_in_conversation }) = self.thread else {
            return Ok(vec![at.message(Content::Message { body, reply_to, thread: None })]);
        };
        let (root_seq, root_slot) = at.thread_root()?;
        let ordinal = one_more(at.facts.thread);
        let thread = Some(ThreadPlace { root, ordinal, also_in_conversation });
        let of = InThread { root_seq, root_slot, also_in_conversation };
        Ok(vec![
            at.message(Content::Message { body, reply_to, thread }),
            Change::Thread { of, slot: at.state.slot, ordinal },
        ])
    }

    fn stands(&self, slot: u64) -> Stands {
        Stands::Message { slot }
    }

    fn hash(&self, input: &mut HashInput) {
        input.message_text(&self.body).optional(self.reply_to.as_ref().map(|id| id.as_bytes().as_slice()));
        // Hashes of messages outside threads stay as they are.
        if let Some(IntoThread { root, also_in_conversation }) = self.thread {
            input.bytes(root.as_bytes()).bytes(&[u8::from(also_in_conversation)]);
        }
    }

    fn samples() -> Vec<Self> {
        let reply_to = Some(sample::target());
        let in_thread = |also_in_conversation| Self {
            body: "below".into(),
            reply_to: None,
            thread: Some(IntoThread { root: sample::target(), also_in_conversation }),
        };
        vec![
            Self { body: "hello\n👋".into(), reply_to: None, thread: None },
            Self { body: "yes".into(), reply_to, thread: None },
            in_thread(false),
            in_thread(true),
        ]
    }
}
