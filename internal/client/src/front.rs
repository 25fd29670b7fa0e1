//! The short way in: sign in, and one function for each thing that a bot says.

use std::sync::Arc;

use domain::{CommandId, ConversationId, MessageText, UserId};
use environment::{Clock, Entropy};
use protocol::{CommandFrame, CommandKind, FeedFrame, FeedKind};
use secret::Secret;

use crate::{Client, ClientError, ClientEvent, ClientOptions, DeviceState, Endpoints, Http, Identity};

/// A message that somebody has said, as the feed brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'e> {
    /// Where.
    pub conversation: ConversationId,
    /// How it is addressed: by answers, edits and reactions.
    pub id: CommandId,
    /// Who said it; that may be the client's own user, on any device.
    pub author: UserId,
    /// The text, which debug output does not show: `said.body.reveal()` reads it.
    pub body: &'e MessageText,
    /// The message that it answers.
    pub reply_to: Option<CommandId>,
}

impl ClientEvent {
    /// The message, if that is what the event brings.
    #[must_use]
    pub fn message(&self) -> Option<Message<'_>> {
        let Self::Feed(frame) = self else { return None };
        let FeedFrame::Event { conversation, id, author, what: FeedKind::Message { body, reply_to }, .. } = &**frame
        else {
            return None;
        };
        Some(Message { conversation: *conversation, id: *id, author: *author, body, reply_to: *reply_to })
    }
}

impl Client {
    /// Signs in at the server of that base URL (`http://127.0.0.1:8080`), as a new device: it connects and syncs with the
    /// first [`Self::next`]. A device that is to go on where it was keeps its state: see [`Self::new`].
    ///
    /// # Errors
    /// `wrong_credentials`, an address that is none, or no answer.
    pub async fn sign_in(url: &str, name: &str, password: &Secret) -> Result<Self, ClientError> {
        let http = Http::new(Endpoints::new(url, None, None)?)?;
        let user = http.sign_in(name, password).await?;
        let identity = Identity { user: user.id, name: user.name };
        let (clock, entropy) = (Clock::system(), Entropy::system());
        Ok(Self::new(ClientOptions { http: Arc::new(http), identity, state: DeviceState::default(), clock, entropy }))
    }

    /// Says something. As with every command, the id names it in [`ClientEvent::Logged`] and [`ClientEvent::Fate`].
    ///
    /// # Errors
    /// As [`Self::submit`]; so with all that follow.
    pub fn send(&mut self, conversation: ConversationId, body: &str) -> Result<CommandId, ClientError> {
        self.submit(CommandFrame::new(
            self.mint(),
            conversation,
            CommandKind::Send { body: body.into(), reply_to: None },
        ))
    }

    /// Answers a message.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn reply(&mut self, conversation: ConversationId, to: CommandId, body: &str) -> Result<CommandId, ClientError> {
        self.submit(CommandFrame::new(
            self.mint(),
            conversation,
            CommandKind::Send { body: body.into(), reply_to: Some(to) },
        ))
    }

    /// Gives an own message another text.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn edit(
        &mut self,
        conversation: ConversationId,
        target: CommandId,
        body: &str,
    ) -> Result<CommandId, ClientError> {
        self.submit(CommandFrame::new(self.mint(), conversation, CommandKind::Edit { target, body: body.into() }))
    }

    /// Deletes an own message.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn delete(&mut self, conversation: ConversationId, target: CommandId) -> Result<CommandId, ClientError> {
        self.submit(CommandFrame::new(self.mint(), conversation, CommandKind::Delete { target }))
    }

    /// Reacts to a message; the user's earlier reaction to it goes.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn react(
        &mut self,
        conversation: ConversationId,
        target: CommandId,
        emoji: &str,
    ) -> Result<CommandId, ClientError> {
        self.submit(CommandFrame::new(
            self.mint(),
            conversation,
            CommandKind::React { target, emoji: emoji.to_owned() },
        ))
    }

    /// Takes a reaction back.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn unreact(&mut self, conversation: ConversationId, target: CommandId) -> Result<CommandId, ClientError> {
        self.submit(CommandFrame::new(self.mint(), conversation, CommandKind::Unreact { target }))
    }
}
