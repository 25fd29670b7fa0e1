//! The record types: the table has one line for each, with the fields of its schema in `schemas/avro`. `table` makes of
//! it the structs, [`SchemaKind`], and the description for people. Versions never change.
//!
//! Behind the table are the conversions between events and the records of `chat.messages`; only there are old versions
//! upgraded. Both matches name every kind and every record type, so that the compiler asks for new ones. Records of
//! other topics are converted in `convert` and `signal`.

use bytes::Bytes;
use domain::kinds::{
    AddMembers, AddReaction, ChangeRole, ChangeTitle, Create, DeleteMessage, EditMessage, IntoThread, Leave,
    PinMessage, RemoveMember, RemoveReaction, SendMessage, UnpinMessage, Withdraw,
};
use domain::{
    Action, CommandId, ConversationKind, CustomContent, Event, Mentions, MessageBody, MessageText, Quote, Reply, Role,
    UserId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::codec::{Codec, DecodeError, Encoded, Header};
use crate::convert::{id, misplaced, users};
use crate::table::{as_json, record_types};

// The order determines the ids of schemas where no registry is configured: append, never reorder.
record_types! {
    ConversationCreatedV1 = "conversation_created" v "1" {
        envelope: EnvelopeV1, kind: String, title: Option<String>, members: Vec<Uuid>
    }
    MembersAddedV1 = "members_added" v "1" { envelope: EnvelopeV1, members: Vec<Uuid> }
    MemberRemovedV1 = "member_removed" v "1" { envelope: EnvelopeV1, user: Uuid }
    MemberLeftV1 = "member_left" v "1" { envelope: EnvelopeV1 }
    RoleChangedV1 = "role_changed" v "1" { envelope: EnvelopeV1, user: Uuid, role: String }
    TitleChangedV1 = "title_changed" v "1" { envelope: EnvelopeV1, title: String }
    MessageSentV1 = "message_sent" v "1" { envelope: EnvelopeV1, body: String, reply_to: Option<Uuid> }
    MessageEditedV1 = "message_edited" v "1" { envelope: EnvelopeV1, target: Uuid, body: String }
    MessageDeletedV1 = "message_deleted" v "1" { envelope: EnvelopeV1, target: Uuid }
    ReactionAddedV1 = "reaction_added" v "1" { envelope: EnvelopeV1, target: Uuid, emoji: String }
    ReactionRemovedV1 = "reaction_removed" v "1" { envelope: EnvelopeV1, target: Uuid }
    IdWithdrawnV1 = "id_withdrawn" v "1" { envelope: EnvelopeV1 }
    ReadMarkV1 = "read_mark" v "1" { user: Uuid, conversation: Uuid, seq: i64, ordinal: i64 }
    DeliveryV1 = "delivery" v "1" { recipients: Vec<Uuid>, conversation: Option<Uuid>, seq: Option<i64>, frame: String }
    QuarantinedV1 = "quarantined" v "1" { topic: String, partition: i32, offset: i64, reason: String, payload: Bytes }
    GenesisV1 = "genesis" v "1" { nonce: Uuid, generation: i32 }
    TickV1 = "tick" v "1" {}
    UserRegisteredV1 = "user_registered" v "1" { id: Uuid, user: Uuid, time: i64, name: String, display_name: String }
    SessionStartedV1 = "session_started" v "1" { id: Uuid, user: Uuid, time: i64 }
    SessionEndedV1 = "session_ended" v "1" { id: Uuid, user: Uuid, time: i64 }
    ConversationCreatedV2 = "conversation_created" v "2" {
        envelope: EnvelopeV1, kind: String, title: Option<String>, members: Vec<Uuid>, looked_up: bool
    }
    MembersAddedV2 = "members_added" v "2" { envelope: EnvelopeV1, members: Vec<Uuid>, looked_up: bool }
    TypingV1 = "typing" v "1" { recipients: Vec<Uuid>, conversation: Uuid, user: Uuid }
    ReactionRemovedV2 = "reaction_removed" v "2" { envelope: EnvelopeV1, target: Uuid, emoji: String }
    TypingV2 = "typing" v "2" {
        recipients: Vec<Uuid>, conversation: Uuid, user: Uuid, doing: String, thread: Option<Uuid>
    }
    WatchV1 = "watch" v "1" { users: Vec<Uuid>, partition: i32 }
    PresenceV1 = "presence" v "1" { node: Uuid, states: Vec<StateV1> }
    PrivacyChangedV1 = "privacy_changed" v "1" { id: Uuid, user: Uuid, time: i64 }
    MessageSentV2 = "message_sent" v "2" {
        envelope: EnvelopeV1, body: String, reply_to: Option<Uuid>, quote_from: Option<i32>, quote_to: Option<i32>,
        thread: Option<Uuid>, also_in_conversation: bool, mentions: Vec<Uuid>, mentions_all: bool,
        custom_kind: Option<String>, custom_data: Option<String>
    }
    MessagePinnedV1 = "message_pinned" v "1" { envelope: EnvelopeV1, target: Uuid }
    MessageUnpinnedV1 = "message_unpinned" v "1" { envelope: EnvelopeV1, target: Uuid }
    MessageEditedV2 = "message_edited" v "2" {
        envelope: EnvelopeV1, target: Uuid, body: String, mentions: Vec<Uuid>, mentions_all: bool,
        custom_kind: Option<String>, custom_data: Option<String>
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StateV1 {
    pub(crate) user: Uuid,
    pub(crate) status: String,
    pub(crate) since: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EnvelopeV1 {
    pub(crate) id: Uuid,
    pub(crate) conversation: Uuid,
    pub(crate) author: Uuid,
    pub(crate) received: i64,
    pub(crate) rules: i32,
    pub(crate) key_id: Option<String>,
}

/// A record of `chat.messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageRecord {
    /// An event: the command of a client.
    Event(Box<Event>),
    /// A genesis record or a tick, which belong to no conversation.
    Marker,
}

impl Codec {
    /// Encodes an event.
    #[must_use]
    pub fn event(&self, event: &Event) -> Encoded {
        let (envelope, looked_up) = (envelope(event), event.looked_up);
        // Programs that only know an older version of the rules only know the records of that time.
        let first = event.rules < 2;
        match event.action.clone() {
            Action::Create(Create { kind, title, members }) => {
                let (kind, members) = (kind.name().to_owned(), uuids(&members));
                if first {
                    let record = ConversationCreatedV1 { envelope, kind, title, members };
                    return self.encode(SchemaKind::ConversationCreatedV1, &record);
                }
                let record = ConversationCreatedV2 { envelope, kind, title, members, looked_up };
                self.encode(SchemaKind::ConversationCreatedV2, &record)
            }
            Action::AddMembers(AddMembers { members }) => {
                let members = uuids(&members);
                if first {
                    return self.encode(SchemaKind::MembersAddedV1, &MembersAddedV1 { envelope, members });
                }
                self.encode(SchemaKind::MembersAddedV2, &MembersAddedV2 { envelope, members, looked_up })
            }
            Action::RemoveMember(RemoveMember { user }) => {
                self.encode(SchemaKind::MemberRemovedV1, &MemberRemovedV1 { envelope, user: user.uuid() })
            }
            Action::Leave(Leave) => self.encode(SchemaKind::MemberLeftV1, &MemberLeftV1 { envelope }),
            Action::ChangeRole(ChangeRole { user, role }) => {
                let record = RoleChangedV1 { envelope, user: user.uuid(), role: role.name().to_owned() };
                self.encode(SchemaKind::RoleChangedV1, &record)
            }
            Action::ChangeTitle(ChangeTitle { title }) => {
                self.encode(SchemaKind::TitleChangedV1, &TitleChangedV1 { envelope, title })
            }
            Action::SendMessage(message) => self.sent(envelope, message),
            Action::EditMessage(EditMessage { target, body }) if body.is_plain() => self.encode(
                SchemaKind::MessageEditedV1,
                &MessageEditedV1 { envelope, target: target.uuid(), body: body.text.into_record() },
            ),
            Action::EditMessage(EditMessage { target, body }) => {
                let BodyFields { body, mentions, mentions_all, custom_kind, custom_data } = body.into();
                let target = target.uuid();
                let record =
                    MessageEditedV2 { envelope, target, body, mentions, mentions_all, custom_kind, custom_data };
                self.encode(SchemaKind::MessageEditedV2, &record)
            }
            Action::DeleteMessage(DeleteMessage { target }) => {
                self.encode(SchemaKind::MessageDeletedV1, &MessageDeletedV1 { envelope, target: target.uuid() })
            }
            Action::AddReaction(AddReaction { target, emoji }) => {
                self.encode(SchemaKind::ReactionAddedV1, &ReactionAddedV1 { envelope, target: target.uuid(), emoji })
            }
            Action::RemoveReaction(RemoveReaction { target, emoji }) => {
                let target = target.uuid();
                match emoji.filter(|_| event.rules >= 3) {
                    None => self.encode(SchemaKind::ReactionRemovedV1, &ReactionRemovedV1 { envelope, target }),
                    Some(emoji) => {
                        self.encode(SchemaKind::ReactionRemovedV2, &ReactionRemovedV2 { envelope, target, emoji })
                    }
                }
            }
            Action::Withdraw(Withdraw) => self.encode(SchemaKind::IdWithdrawnV1, &IdWithdrawnV1 { envelope }),
            Action::PinMessage(PinMessage { target }) => {
                self.encode(SchemaKind::MessagePinnedV1, &MessagePinnedV1 { envelope, target: target.uuid() })
            }
            Action::UnpinMessage(UnpinMessage { target }) => {
                self.encode(SchemaKind::MessageUnpinnedV1, &MessageUnpinnedV1 { envelope, target: target.uuid() })
            }
        }
    }

    /// A message that is text alone, outside threads, is what it was before version 3 of the rules.
    fn sent(&self, envelope: EnvelopeV1, SendMessage { body, reply_to, thread }: SendMessage) -> Encoded {
        let quote = reply_to.and_then(|reply| reply.quote);
        let reply_to = reply_to.map(|reply| reply.to.uuid());
        if body.is_plain() && quote.is_none() && thread.is_none() {
            let body = body.text.into_record();
            return self.encode(SchemaKind::MessageSentV1, &MessageSentV1 { envelope, body, reply_to });
        }
        let BodyFields { body, mentions, mentions_all, custom_kind, custom_data } = body.into();
        let number = |characters: u32| i32::try_from(characters).unwrap_or(i32::MAX);
        let record = MessageSentV2 {
            envelope,
            body,
            reply_to,
            quote_from: quote.map(|quote| number(quote.from)),
            quote_to: quote.map(|quote| number(quote.to)),
            thread: thread.map(|thread| thread.root.uuid()),
            also_in_conversation: thread.is_some_and(|thread| thread.also_in_conversation),
            mentions,
            mentions_all,
            custom_kind,
            custom_data,
        };
        self.encode(SchemaKind::MessageSentV2, &record)
    }

    /// Decodes a record of `chat.messages`.
    ///
    /// # Errors
    /// After [`DecodeError::UnknownSchema`] the conversation of the record's key is held; after
    /// [`DecodeError::Corrupt`] the record is refused.
    pub fn read_message(&self, headers: &[Header], payload: &[u8]) -> Result<MessageRecord, DecodeError> {
        let (kind, datum) = self.open(headers, payload)?;
        let read = match kind {
            SchemaKind::GenesisV1 | SchemaKind::TickV1 => return Ok(MessageRecord::Marker),
            SchemaKind::ConversationCreatedV1 => Self::read::<ConversationCreatedV1>(kind, datum)?.into_event(),
            SchemaKind::ConversationCreatedV2 => Self::read::<ConversationCreatedV2>(kind, datum)?.into_event(),
            SchemaKind::MembersAddedV1 => Self::read::<MembersAddedV1>(kind, datum)?.into_event(),
            SchemaKind::MembersAddedV2 => Self::read::<MembersAddedV2>(kind, datum)?.into_event(),
            SchemaKind::MemberRemovedV1 => Self::read::<MemberRemovedV1>(kind, datum)?.into_event(),
            SchemaKind::MemberLeftV1 => Self::read::<MemberLeftV1>(kind, datum)?.into_event(),
            SchemaKind::RoleChangedV1 => Self::read::<RoleChangedV1>(kind, datum)?.into_event(),
            SchemaKind::TitleChangedV1 => Self::read::<TitleChangedV1>(kind, datum)?.into_event(),
            SchemaKind::MessageSentV1 => Self::read::<MessageSentV1>(kind, datum)?.into_event(),
            SchemaKind::MessageSentV2 => Self::read::<MessageSentV2>(kind, datum)?.into_event(),
            SchemaKind::MessageEditedV1 => Self::read::<MessageEditedV1>(kind, datum)?.into_event(),
            SchemaKind::MessageEditedV2 => Self::read::<MessageEditedV2>(kind, datum)?.into_event(),
            SchemaKind::MessageDeletedV1 => Self::read::<MessageDeletedV1>(kind, datum)?.into_event(),
            SchemaKind::ReactionAddedV1 => Self::read::<ReactionAddedV1>(kind, datum)?.into_event(),
            SchemaKind::ReactionRemovedV1 => Self::read::<ReactionRemovedV1>(kind, datum)?.into_event(),
            SchemaKind::ReactionRemovedV2 => Self::read::<ReactionRemovedV2>(kind, datum)?.into_event(),
            SchemaKind::IdWithdrawnV1 => Self::read::<IdWithdrawnV1>(kind, datum)?.into_event(),
            SchemaKind::MessagePinnedV1 => Self::read::<MessagePinnedV1>(kind, datum)?.into_event(),
            SchemaKind::MessageUnpinnedV1 => Self::read::<MessageUnpinnedV1>(kind, datum)?.into_event(),
            SchemaKind::ReadMarkV1
            | SchemaKind::DeliveryV1
            | SchemaKind::QuarantinedV1
            | SchemaKind::UserRegisteredV1
            | SchemaKind::SessionStartedV1
            | SchemaKind::SessionEndedV1
            | SchemaKind::TypingV1
            | SchemaKind::TypingV2
            | SchemaKind::WatchV1
            | SchemaKind::PresenceV1
            | SchemaKind::PrivacyChangedV1 => Err(misplaced(kind)),
        };
        Ok(MessageRecord::Event(Box::new(read?)))
    }
}

impl ConversationCreatedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        let action = creation(&self.kind, self.title, &self.members)?;
        event(self.envelope, false, action)
    }
}

impl ConversationCreatedV2 {
    fn into_event(self) -> Result<Event, DecodeError> {
        let action = creation(&self.kind, self.title, &self.members)?;
        event(self.envelope, self.looked_up, action)
    }
}

impl MembersAddedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, false, Action::AddMembers(AddMembers { members: users(&self.members)? }))
    }
}

impl MembersAddedV2 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, self.looked_up, Action::AddMembers(AddMembers { members: users(&self.members)? }))
    }
}

impl MemberRemovedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, false, Action::RemoveMember(RemoveMember { user: id(self.user)? }))
    }
}

impl MemberLeftV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, false, Action::Leave(Leave))
    }
}

impl RoleChangedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        let role = Role::from_name(&self.role).ok_or_else(|| DecodeError::Corrupt("no such role".into()))?;
        event(self.envelope, false, Action::ChangeRole(ChangeRole { user: id(self.user)?, role }))
    }
}

impl TitleChangedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, false, Action::ChangeTitle(ChangeTitle { title: self.title }))
    }
}

/// What a message says, as the fields that two records share.
struct BodyFields {
    body: String,
    mentions: Vec<Uuid>,
    mentions_all: bool,
    custom_kind: Option<String>,
    custom_data: Option<String>,
}

impl From<MessageBody> for BodyFields {
    fn from(MessageBody { text, mentions, custom }: MessageBody) -> Self {
        let (custom_kind, custom_data) = custom.map(|custom| (custom.kind, custom.data.into_record())).unzip();
        let (users, mentions_all) = (uuids(mentions.users()), mentions.all);
        Self { body: text.into_record(), mentions: users, mentions_all, custom_kind, custom_data }
    }
}

impl TryFrom<BodyFields> for MessageBody {
    type Error = DecodeError;

    fn try_from(fields: BodyFields) -> Result<Self, DecodeError> {
        let data = fields.custom_data.unwrap_or_default();
        let custom = fields.custom_kind.map(|kind| CustomContent { kind, data: MessageText::recorded(data) });
        let mentions = Mentions::new(users(&fields.mentions)?, fields.mentions_all);
        Ok(Self { text: MessageText::recorded(fields.body), mentions, custom })
    }
}

impl MessageSentV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        let (body, to) = (MessageText::recorded(self.body), self.reply_to.map(id::<CommandId>).transpose()?);
        let message = SendMessage { body: body.into(), reply_to: to.map(Reply::from), thread: None };
        event(self.envelope, false, Action::SendMessage(message))
    }
}

impl MessageSentV2 {
    fn into_event(self) -> Result<Event, DecodeError> {
        let Self { body, mentions, mentions_all, custom_kind, custom_data, also_in_conversation, .. } = self;
        let number =
            |number: i32| u32::try_from(number).map_err(|_| DecodeError::Corrupt("a quote is negative".into()));
        let quote = match self.quote_from.zip(self.quote_to) {
            Some((from, to)) => Some(Quote { from: number(from)?, to: number(to)? }),
            None => None,
        };
        let to = self.reply_to.map(id).transpose()?;
        let root = self.thread.map(id).transpose()?;
        let message = SendMessage {
            body: BodyFields { body, mentions, mentions_all, custom_kind, custom_data }.try_into()?,
            reply_to: to.map(|to| Reply { to, quote }),
            thread: root.map(|root| IntoThread { root, also_in_conversation }),
        };
        event(self.envelope, false, Action::SendMessage(message))
    }
}

impl MessageEditedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        let body = MessageText::recorded(self.body).into();
        event(self.envelope, false, Action::EditMessage(EditMessage { target: id(self.target)?, body }))
    }
}

impl MessageEditedV2 {
    fn into_event(self) -> Result<Event, DecodeError> {
        let Self { body, mentions, mentions_all, custom_kind, custom_data, .. } = self;
        let body = BodyFields { body, mentions, mentions_all, custom_kind, custom_data }.try_into()?;
        event(self.envelope, false, Action::EditMessage(EditMessage { target: id(self.target)?, body }))
    }
}

impl MessageDeletedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, false, Action::DeleteMessage(DeleteMessage { target: id(self.target)? }))
    }
}

impl ReactionAddedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, false, Action::AddReaction(AddReaction { target: id(self.target)?, emoji: self.emoji }))
    }
}

impl ReactionRemovedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        let action = RemoveReaction { target: id(self.target)?, emoji: None };
        event(self.envelope, false, Action::RemoveReaction(action))
    }
}

impl ReactionRemovedV2 {
    fn into_event(self) -> Result<Event, DecodeError> {
        let action = RemoveReaction { target: id(self.target)?, emoji: Some(self.emoji) };
        event(self.envelope, false, Action::RemoveReaction(action))
    }
}

impl IdWithdrawnV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, false, Action::Withdraw(Withdraw))
    }
}

impl MessagePinnedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, false, Action::PinMessage(PinMessage { target: id(self.target)? }))
    }
}

impl MessageUnpinnedV1 {
    fn into_event(self) -> Result<Event, DecodeError> {
        event(self.envelope, false, Action::UnpinMessage(UnpinMessage { target: id(self.target)? }))
    }
}

fn creation(kind: &str, title: Option<String>, members: &[Uuid]) -> Result<Action, DecodeError> {
    let named = ConversationKind::from_name(kind);
    let kind = named.ok_or_else(|| DecodeError::Corrupt("no such kind of conversation".into()))?;
    Ok(Action::Create(Create { kind, title, members: users(members)? }))
}

fn envelope(event: &Event) -> EnvelopeV1 {
    EnvelopeV1 {
        id: event.id.uuid(),
        conversation: event.conversation.uuid(),
        author: event.author.uuid(),
        received: event.received_ms,
        rules: i32::try_from(event.rules).unwrap_or(i32::MAX),
        key_id: event.key_id.clone(),
    }
}

fn event(envelope: EnvelopeV1, looked_up: bool, action: Action) -> Result<Event, DecodeError> {
    // Versions count from 1. No program will ever know version 0, so the record is corrupt and waits for no
    // upgrade.
    let rules = u32::try_from(envelope.rules).ok().filter(|rules| *rules > 0);
    let rules = rules.ok_or_else(|| DecodeError::Corrupt(format!("no rules are of version {}", envelope.rules)))?;
    Ok(Event {
        id: id::<CommandId>(envelope.id)?,
        conversation: id(envelope.conversation)?,
        author: id(envelope.author)?,
        received_ms: envelope.received,
        rules,
        key_id: envelope.key_id,
        looked_up,
        action,
    })
}

pub(crate) fn uuids(users: &[UserId]) -> Vec<Uuid> {
    users.iter().map(UserId::uuid).collect()
}
