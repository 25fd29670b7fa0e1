//! Events appended to `chat.messages` by hand: conversations, and messages in them. No service checks or limits them; the
//! consumers judge them as those of clients.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use domain::kinds::{AddMembers, Create, SendMessage};
use domain::limits::MEMBERS_PER_EVENT_MAX;
use domain::{Action, CommandId, ConversationId, ConversationKind, Event, RULES_NEWEST, UserId};
use eventlog::{AppendReceipt, NewRecord, SharedLog};
use events::Codec;
use events::topics::MESSAGES;
use uuid::Uuid;

/// Appends that are not acknowledged yet.
const IN_FLIGHT_MAX: usize = 5_000;
/// The bytes of a message's text.
const BODY_BYTES: usize = 150;

/// Appends events.
pub(crate) struct Messages {
    log: SharedLog,
    codec: Codec,
    /// Each with a member.
    conversations: Vec<(ConversationId, UserId)>,
    receipts: VecDeque<AppendReceipt>,
    body: String,
}

impl Messages {
    /// Appends to that log.
    pub(crate) fn new(log: &SharedLog) -> Self {
        let (log, body) = (Arc::clone(log), ".".repeat(BODY_BYTES));
        Self { log, codec: Codec::compiled_in(), conversations: Vec::new(), receipts: VecDeque::new(), body }
    }

    /// Opens a conversation of these users: a direct one, where there are two.
    pub(crate) async fn open(&mut self, users: &[UserId]) -> Result<ConversationId> {
        let (&author, id) = (users.first().context("a conversation has members")?, id()?);
        let (kind, conversation) = match users {
            [one, other] => (ConversationKind::Direct, ConversationId::direct(*one, *other)),
            _ => (ConversationKind::Group, ConversationId::group(author, id)),
        };
        let title = (kind == ConversationKind::Group).then(|| "bench".to_owned());
        let mut parts = users.chunks(MEMBERS_PER_EVENT_MAX).map(<[UserId]>::to_vec);
        let members = parts.next().unwrap_or_default();
        self.append(id, conversation, author, Action::Create(Create { kind, title, members })).await?;
        for members in parts {
            let action = Action::AddMembers(AddMembers { members });
            self.append(self::id()?, conversation, author, action).await?;
        }
        self.conversations.push((conversation, author));
        Ok(conversation)
    }

    /// Speaks in their direct conversation, too, which was opened before.
    pub(crate) fn known(&mut self, one: UserId, other: UserId) {
        self.conversations.push((ConversationId::direct(one, other), one));
    }

    /// So many messages, one conversation after the other.
    pub(crate) async fn say(&mut self, count: usize) -> Result<()> {
        for number in 0..count {
            let at = self.conversations.get(number % self.conversations.len().max(1)).copied();
            let (conversation, author) = at.context("no conversation was opened")?;
            let message = SendMessage { body: self.body.clone().into(), reply_to: None };
            self.append(id()?, conversation, author, Action::SendMessage(message)).await?;
        }
        self.durable().await
    }

    /// Waits until all are durable.
    pub(crate) async fn durable(&mut self) -> Result<()> {
        while let Some(receipt) = self.receipts.pop_front() {
            receipt.await?;
        }
        Ok(())
    }

    async fn append(
        &mut self,
        id: CommandId,
        conversation: ConversationId,
        author: UserId,
        action: Action,
    ) -> Result<()> {
        let rules = RULES_NEWEST;
        let event = Event { id, conversation, author, received_ms: 0, rules, key_id: None, looked_up: true, action };
        let (encoded, key) = (self.codec.event(&event), conversation.to_string());
        let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
        self.receipts.push_back(self.log.enqueue(MESSAGES, record).await?);
        if self.receipts.len() >= IN_FLIGHT_MAX
            && let Some(oldest) = self.receipts.pop_front()
        {
            oldest.await?;
        }
        Ok(())
    }
}

fn id() -> Result<CommandId> {
    CommandId::try_from(Uuid::now_v7()).context("the clock is out of bounds")
}
