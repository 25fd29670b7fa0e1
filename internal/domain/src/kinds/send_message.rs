//! `send_message`: sends a message.

use super::prelude::*;
use crate::state::one_more;
use crate::{Extras, InThread, Mentions, Reply, ThreadPlace};

/// Sends a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// What it says.
    pub body: MessageBody,
    /// The message that this one answers. It is not checked: it may be deleted before this one is read.
    pub reply_to: Option<Reply>,
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
        input::body(&self.body)?;
        self.reply_to.and_then(|reply| reply.quote).map_or(Ok(()), input::quote)
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        let role = at.member()?;
        at.body_fits(&self.body)?;
        at.may_mention(role, &Mentions::default(), &self.body.mentions)?;
        at.quote_fits(self.reply_to)?;
        let (body, reply_to, slot) = (self.body.clone(), self.reply_to, at.state.slot);
        let extras = at.extras((at.seq, slot), at.event.author, (&Extras::default(), body.extras()), None);
        let Some(IntoThread { root, also_in_conversation }) = self.thread else {
            let message = at.message(Content::Message { body, reply_to, thread: None });
            return Ok(std::iter::once(message).chain(extras).collect());
        };
        let (root_seq, root_slot) = at.thread_root()?;
        let ordinal = one_more(at.facts.of_target.thread);
        let thread = Some(ThreadPlace { root, ordinal, also_in_conversation });
        let of = InThread { root_seq, root_slot, also_in_conversation };
        let message = at.message(Content::Message { body, reply_to, thread });
        Ok([message, Change::Thread { of, slot, ordinal }].into_iter().chain(extras).collect())
    }

    fn stands(&self, slot: u64) -> Stands {
        Stands::Message { slot }
    }

    fn hash(&self, input: &mut HashInput) {
        let to = self.reply_to.as_ref().map(|reply| reply.to.as_bytes().as_slice());
        input.message_text(&self.body.text).optional(to);
        // Hashes of messages that have nothing of what follows stay as they are.
        if let Some(IntoThread { root, also_in_conversation }) = self.thread {
            input.bytes(root.as_bytes()).bytes(&[u8::from(also_in_conversation)]);
        }
        if let Some(quote) = self.reply_to.and_then(|reply| reply.quote) {
            input.text("quote").bytes(&quote.from.to_be_bytes()).bytes(&quote.to.to_be_bytes());
        }
        input.beside_text(&self.body);
    }

    fn samples() -> Vec<Self> {
        let reply_to = Some(sample::target().into());
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
            Self { body: sample::body(), reply_to: Some(sample::quoting()), thread: None },
        ]
    }
}
