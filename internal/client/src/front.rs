//! The simple interface for bots: signing in, and one function for each command.

use std::sync::Arc;

use domain::{CommandId, ConversationId, MessageText, UserId};
use environment::{Clock, Entropy};
use protocol::{CommandFrame, CommandKind, FeedFrame, FeedKind, MentionsBody};
use secret::Secret;

use crate::{Client, ClientError, ClientEvent, ClientOptions, DeviceState, Endpoints, Http, Identity};

/// A new message on the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'e> {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its id, by which replies, edits and reactions refer to it.
    pub id: CommandId,
    /// Its author, who may be the client's own user, on any device.
    pub author: UserId,
    /// The text. Debug output does not show it: `said.body.reveal()` reads it.
    pub body: &'e MessageText,
    /// The id of the message that it replies to.
    pub reply_to: Option<CommandId>,
    /// The root of the thread that it is in.
    pub thread: Option<CommandId>,
    /// Whom it mentions.
    pub mentions: Option<&'e MentionsBody>,
}

impl ClientEvent {
    /// The message, if the event is one.
    #[must_use]
    pub fn message(&self) -> Option<Message<'_>> {
        let Self::Feed(frame) = self else { return None };
        let FeedFrame::Event { conversation, id, author, what, .. } = &**frame else { return None };
        let FeedKind::Message { body, reply_to, thread, mentions, .. } = what else { return None };
        Some(Message {
            conversation: *conversation,
            id: *id,
            author: *author,
            body,
            reply_to: *reply_to,
            thread: *thread,
            mentions: mentions.as_ref(),
        })
    }
}

impl Client {
    /// Signs in at the server with that base URL (`http://127.0.0.1:8080`), as a new device: it connects and syncs
    /// with the first [`Self::next`]. A device that is to resume stores its state: see [`Self::new`].
    ///
    /// # Errors
    /// `wrong_credentials`, an invalid URL, or no answer.
    pub async fn sign_in(url: &str, name: &str, password: &Secret) -> Result<Self, ClientError> {
        let http = Http::new(Endpoints::new(url, None, None)?)?;
        let user = http.sign_in(name, password).await?;
        let identity = Identity { user: user.id, name: user.name };
        let (clock, entropy) = (Clock::system(), Entropy::system());
        Ok(Self::new(ClientOptions { http: Arc::new(http), identity, state: DeviceState::default(), clock, entropy }))
    }

    /// Sends a message. The id that is returned names the command in [`ClientEvent::Logged`] and
    /// [`ClientEvent::Fate`], as with every command.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn send(&mut self, conversation: ConversationId, body: &str) -> Result<CommandId, ClientError> {
        self.command(conversation, CommandKind::send(body.into(), None))
    }

    /// Replies to a message.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn reply(&mut self, conversation: ConversationId, to: CommandId, body: &str) -> Result<CommandId, ClientError> {
        self.command(conversation, CommandKind::send(body.into(), Some(to)))
    }

    /// Sends a message into the thread of another one, its root; with `also_in_conversation` into the main view as well.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn send_into_thread(
        &mut self,
        conversation: ConversationId,
        root: CommandId,
        body: &str,
        also_in_conversation: bool,
    ) -> Result<CommandId, ClientError> {
        self.command(conversation, CommandKind::send_into_thread(body.into(), root, also_in_conversation))
    }

    /// Sends a message that mentions these members, at most a hundred.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn mention(
        &mut self,
        conversation: ConversationId,
        users: &[UserId],
        body: &str,
    ) -> Result<CommandId, ClientError> {
        let mut what = CommandKind::send(body.into(), None);
        if let CommandKind::Send { mentions, .. } = &mut what {
            *mentions = Some(MentionsBody { users: users.to_vec(), all: false });
        }
        self.command(conversation, what)
    }

    /// Gives a message of the user's own another text, and nothing else to say: it mentions nobody any more.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn edit(
        &mut self,
        conversation: ConversationId,
        target: CommandId,
        body: &str,
    ) -> Result<CommandId, ClientError> {
        self.command(conversation, CommandKind::edit(target, body.into()))
    }

    /// Deletes a message of the user's own.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn delete(&mut self, conversation: ConversationId, target: CommandId) -> Result<CommandId, ClientError> {
        self.command(conversation, CommandKind::Delete { target })
    }

    /// Reacts to a message, replacing the user's earlier reaction to it.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn react(
        &mut self,
        conversation: ConversationId,
        target: CommandId,
        emoji: &str,
    ) -> Result<CommandId, ClientError> {
        self.command(conversation, CommandKind::React { target, emoji: emoji.to_owned() })
    }

    /// Removes one of the user's reactions.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn unreact(
        &mut self,
        conversation: ConversationId,
        target: CommandId,
        emoji: &str,
    ) -> Result<CommandId, ClientError> {
        self.command(conversation, CommandKind::Unreact { target, emoji: emoji.to_owned() })
    }

    /// Pins a message: in a group as an admin.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn pin(&mut self, conversation: ConversationId, target: CommandId) -> Result<CommandId, ClientError> {
        self.command(conversation, CommandKind::Pin { target })
    }

    /// Takes the pin of a message away.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn unpin(&mut self, conversation: ConversationId, target: CommandId) -> Result<CommandId, ClientError> {
        self.command(conversation, CommandKind::Unpin { target })
    }

    fn command(&mut self, conversation: ConversationId, what: CommandKind) -> Result<CommandId, ClientError> {
        let id = self.mint();
        self.submit(CommandFrame::new(id, conversation, what))
    }
}
