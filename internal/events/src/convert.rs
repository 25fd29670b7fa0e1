//! Records to the domain's types and back: the one place where versions are upgraded.

use bytes::Bytes;
use domain::{Action, CommandId, ConversationId, ConversationKind, Event, Role, Seq, UserId};
use uuid::Uuid;

use crate::codec::{Codec, DecodeError, Encoded};
use crate::records::*;
use crate::schemas::SchemaKind;

/// A record of `chat.messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageRecord {
    /// What a client asked for.
    Event(Box<Event>),
    /// The first record of a partition, or another that concerns no conversation.
    Marker,
}

/// A record of `chat.receipts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark {
    /// Who.
    pub user: UserId,
    /// Where.
    pub conversation: ConversationId,
    /// Up to this entry.
    pub seq: Seq,
    /// Messages up to it.
    pub ordinal: u64,
}

/// A record of `chat.deliveries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The users, all of the record's partition.
    pub recipients: Vec<UserId>,
    /// What the client's filter looks at.
    pub place: Option<(ConversationId, Seq)>,
    /// The socket frame as JSON, without its cursor.
    pub frame: String,
}

/// A record of `chat.quarantine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Where the record stands.
    pub topic: String,
    /// Where the record stands.
    pub partition: u32,
    /// Where the record stands.
    pub offset: u64,
    /// What was wrong.
    pub reason: String,
    /// Its body.
    pub payload: Bytes,
}

/// A record of `users.events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    /// The event's id: repetitions carry the same one.
    pub id: Uuid,
    /// The account.
    pub user: UserId,
    /// The user service's clock, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What happened.
    pub what: AccountEvent,
}

/// What happened to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountEvent {
    /// It was made.
    Registered {
        /// Its unique name.
        name: String,
        /// What others see.
        display_name: String,
    },
    /// A device signed in.
    SessionStarted,
    /// A device signed out, or was signed out.
    SessionEnded,
}

impl Codec {
    /// An event as a record.
    #[must_use]
    pub fn event(&self, event: &Event) -> Encoded {
        let envelope = EnvelopeV1 {
            id: event.id.uuid(),
            conversation: event.conversation.uuid(),
            author: event.author.uuid(),
            received: event.received_ms,
            rules: i32::try_from(event.rules).unwrap_or(i32::MAX),
            key_id: event.key_id.clone(),
        };
        let uuids = |users: &[UserId]| users.iter().map(UserId::uuid).collect::<Vec<_>>();
        // Programs that know no other rules know no other records.
        let (first, looked_up) = (event.rules < 2, event.looked_up);
        match event.action.clone() {
            Action::Create { kind, title, members } if !first => {
                let (kind, members) = (kind.name().to_owned(), uuids(&members));
                let record = ConversationCreatedV2 { envelope, kind, title, members, looked_up };
                self.encode(SchemaKind::ConversationCreatedV2, &record)
            }
            Action::AddMembers { members } if !first => {
                let record = MembersAddedV2 { envelope, members: uuids(&members), looked_up };
                self.encode(SchemaKind::MembersAddedV2, &record)
            }
            Action::Create { kind, title, members } => {
                let (kind, members) = (kind.name().to_owned(), uuids(&members));
                let record = ConversationCreatedV1 { envelope, kind, title, members };
                self.encode(SchemaKind::ConversationCreatedV1, &record)
            }
            Action::AddMembers { members } => {
                self.encode(SchemaKind::MembersAddedV1, &MembersAddedV1 { envelope, members: uuids(&members) })
            }
            Action::RemoveMember { user } => {
                self.encode(SchemaKind::MemberRemovedV1, &MemberRemovedV1 { envelope, user: user.uuid() })
            }
            Action::Leave => self.encode(SchemaKind::MemberLeftV1, &MemberLeftV1 { envelope }),
            Action::ChangeRole { user, role } => {
                let record = RoleChangedV1 { envelope, user: user.uuid(), role: role.name().to_owned() };
                self.encode(SchemaKind::RoleChangedV1, &record)
            }
            Action::ChangeTitle { title } => {
                self.encode(SchemaKind::TitleChangedV1, &TitleChangedV1 { envelope, title })
            }
            Action::SendMessage { body, reply_to } => {
                let record = MessageSentV1 { envelope, body, reply_to: reply_to.map(|id| id.uuid()) };
                self.encode(SchemaKind::MessageSentV1, &record)
            }
            Action::EditMessage { target, body } => {
                self.encode(SchemaKind::MessageEditedV1, &MessageEditedV1 { envelope, target: target.uuid(), body })
            }
            Action::DeleteMessage { target } => {
                self.encode(SchemaKind::MessageDeletedV1, &MessageDeletedV1 { envelope, target: target.uuid() })
            }
            Action::AddReaction { target, emoji } => {
                self.encode(SchemaKind::ReactionAddedV1, &ReactionAddedV1 { envelope, target: target.uuid(), emoji })
            }
            Action::RemoveReaction { target } => {
                self.encode(SchemaKind::ReactionRemovedV1, &ReactionRemovedV1 { envelope, target: target.uuid() })
            }
            Action::Withdraw => self.encode(SchemaKind::IdWithdrawnV1, &IdWithdrawnV1 { envelope }),
        }
    }

    /// A record of `chat.messages`.
    ///
    /// # Errors
    /// [`DecodeError::UnknownSchema`] holds the conversation of the record's key, [`DecodeError::Corrupt`] refuses it.
    pub fn read_message(&self, headers: &[(String, Bytes)], payload: &[u8]) -> Result<MessageRecord, DecodeError> {
        let (kind, datum) = self.open(headers, payload)?;
        let mut looked_up = false;
        let (envelope, action) = match kind {
            SchemaKind::GenesisV1 | SchemaKind::TickV1 => return Ok(MessageRecord::Marker),
            SchemaKind::ConversationCreatedV1 => {
                let record: ConversationCreatedV1 = Self::read(kind, datum)?;
                (record.envelope, creation(&record.kind, record.title, &record.members)?)
            }
            SchemaKind::ConversationCreatedV2 => {
                let record: ConversationCreatedV2 = Self::read(kind, datum)?;
                looked_up = record.looked_up;
                (record.envelope, creation(&record.kind, record.title, &record.members)?)
            }
            SchemaKind::MembersAddedV2 => {
                let record: MembersAddedV2 = Self::read(kind, datum)?;
                looked_up = record.looked_up;
                (record.envelope, Action::AddMembers { members: users(&record.members)? })
            }
            SchemaKind::MembersAddedV1 => {
                let record: MembersAddedV1 = Self::read(kind, datum)?;
                (record.envelope, Action::AddMembers { members: users(&record.members)? })
            }
            SchemaKind::MemberRemovedV1 => {
                let record: MemberRemovedV1 = Self::read(kind, datum)?;
                (record.envelope, Action::RemoveMember { user: id(record.user)? })
            }
            SchemaKind::MemberLeftV1 => (Self::read::<MemberLeftV1>(kind, datum)?.envelope, Action::Leave),
            SchemaKind::RoleChangedV1 => {
                let record: RoleChangedV1 = Self::read(kind, datum)?;
                let role = Role::from_name(&record.role).ok_or_else(|| DecodeError::Corrupt("no such role".into()))?;
                (record.envelope, Action::ChangeRole { user: id(record.user)?, role })
            }
            SchemaKind::TitleChangedV1 => {
                let record: TitleChangedV1 = Self::read(kind, datum)?;
                (record.envelope, Action::ChangeTitle { title: record.title })
            }
            _ => Self::read_on_message(kind, datum)?,
        };
        Ok(MessageRecord::Event(Box::new(event(envelope, looked_up, action)?)))
    }

    /// The half of [`Self::read_message`] that is about single messages.
    fn read_on_message(kind: SchemaKind, datum: &[u8]) -> Result<(EnvelopeV1, Action), DecodeError> {
        Ok(match kind {
            SchemaKind::MessageSentV1 => {
                let record: MessageSentV1 = Self::read(kind, datum)?;
                let reply_to = record.reply_to.map(id).transpose()?;
                (record.envelope, Action::SendMessage { body: record.body, reply_to })
            }
            SchemaKind::MessageEditedV1 => {
                let record: MessageEditedV1 = Self::read(kind, datum)?;
                (record.envelope, Action::EditMessage { target: id(record.target)?, body: record.body })
            }
            SchemaKind::MessageDeletedV1 => {
                let record: MessageDeletedV1 = Self::read(kind, datum)?;
                (record.envelope, Action::DeleteMessage { target: id(record.target)? })
            }
            SchemaKind::ReactionAddedV1 => {
                let record: ReactionAddedV1 = Self::read(kind, datum)?;
                (record.envelope, Action::AddReaction { target: id(record.target)?, emoji: record.emoji })
            }
            SchemaKind::ReactionRemovedV1 => {
                let record: ReactionRemovedV1 = Self::read(kind, datum)?;
                (record.envelope, Action::RemoveReaction { target: id(record.target)? })
            }
            SchemaKind::IdWithdrawnV1 => (Self::read::<IdWithdrawnV1>(kind, datum)?.envelope, Action::Withdraw),
            other => return Err(misplaced(other)),
        })
    }

    /// A read mark as a record.
    #[must_use]
    pub fn read_mark(&self, mark: &ReadMark) -> Encoded {
        let record = ReadMarkV1 {
            user: mark.user.uuid(),
            conversation: mark.conversation.uuid(),
            seq: mark.seq.timestamp(),
            ordinal: i64::try_from(mark.ordinal).unwrap_or(i64::MAX),
        };
        self.encode(SchemaKind::ReadMarkV1, &record)
    }

    /// A record of `chat.receipts`; `None` for markers.
    ///
    /// # Errors
    /// As [`Self::read_message`].
    pub fn read_receipt(&self, headers: &[(String, Bytes)], payload: &[u8]) -> Result<Option<ReadMark>, DecodeError> {
        let (kind, datum) = self.open(headers, payload)?;
        match kind {
            SchemaKind::GenesisV1 | SchemaKind::TickV1 => Ok(None),
            SchemaKind::ReadMarkV1 => {
                let record: ReadMarkV1 = Self::read(kind, datum)?;
                let (user, conversation) = (id(record.user)?, id(record.conversation)?);
                Ok(Some(ReadMark { user, conversation, seq: seq(record.seq)?, ordinal: number(record.ordinal)? }))
            }
            other => Err(misplaced(other)),
        }
    }

    /// A delivery as a record.
    #[must_use]
    pub fn delivery(&self, delivery: &Delivery) -> Encoded {
        let record = DeliveryV1 {
            recipients: delivery.recipients.iter().map(UserId::uuid).collect(),
            conversation: delivery.place.map(|(conversation, _)| conversation.uuid()),
            seq: delivery.place.map(|(_, seq)| seq.timestamp()),
            frame: delivery.frame.clone(),
        };
        self.encode(SchemaKind::DeliveryV1, &record)
    }

    /// A record of `chat.deliveries`; `None` for markers.
    ///
    /// # Errors
    /// As [`Self::read_message`].
    pub fn read_delivery(&self, headers: &[(String, Bytes)], payload: &[u8]) -> Result<Option<Delivery>, DecodeError> {
        let (kind, datum) = self.open(headers, payload)?;
        match kind {
            SchemaKind::GenesisV1 | SchemaKind::TickV1 => Ok(None),
            SchemaKind::DeliveryV1 => {
                let record: DeliveryV1 = Self::read(kind, datum)?;
                let place = match (record.conversation, record.seq) {
                    (Some(conversation), Some(place)) => Some((id(conversation)?, seq(place)?)),
                    _ => None,
                };
                Ok(Some(Delivery { recipients: users(&record.recipients)?, place, frame: record.frame }))
            }
            other => Err(misplaced(other)),
        }
    }

    /// A record that could not be decoded, as a record.
    #[must_use]
    pub fn quarantined(&self, record: &Quarantined) -> Encoded {
        let record = QuarantinedV1 {
            topic: record.topic.clone(),
            partition: i32::try_from(record.partition).unwrap_or(i32::MAX),
            offset: i64::try_from(record.offset).unwrap_or(i64::MAX),
            reason: record.reason.clone(),
            payload: record.payload.clone(),
        };
        self.encode(SchemaKind::QuarantinedV1, &record)
    }

    /// The first record of a partition.
    #[must_use]
    pub fn genesis(&self, nonce: [u8; 16], generation: u8) -> Encoded {
        let record = GenesisV1 { nonce: Uuid::from_bytes(nonce), generation: i32::from(generation) };
        self.encode(SchemaKind::GenesisV1, &record)
    }

    /// Whether the record is the first one of a partition of that generation.
    #[must_use]
    pub fn is_genesis(&self, headers: &[(String, Bytes)], payload: &[u8], generation: u8) -> bool {
        let record = self.open(headers, payload).and_then(|(kind, datum)| match kind {
            SchemaKind::GenesisV1 => Self::read::<GenesisV1>(kind, datum),
            other => Err(misplaced(other)),
        });
        record.is_ok_and(|record| record.generation == i32::from(generation))
    }

    /// A record that keeps a quiet partition from being trimmed empty.
    #[must_use]
    pub fn tick(&self) -> Encoded {
        self.encode(SchemaKind::TickV1, &TickV1 {})
    }

    /// An account event as a record.
    #[must_use]
    pub fn user_event(&self, event: &UserEvent) -> Encoded {
        let (id, user, time) = (event.id, event.user.uuid(), event.time_ms);
        match event.what.clone() {
            AccountEvent::Registered { name, display_name } => {
                let record = UserRegisteredV1 { id, user, time, name, display_name };
                self.encode(SchemaKind::UserRegisteredV1, &record)
            }
            AccountEvent::SessionStarted => {
                self.encode(SchemaKind::SessionStartedV1, &SessionStartedV1 { id, user, time })
            }
            AccountEvent::SessionEnded => self.encode(SchemaKind::SessionEndedV1, &SessionEndedV1 { id, user, time }),
        }
    }

    /// A record of `users.events`; `None` for markers.
    ///
    /// # Errors
    /// As [`Self::read_message`].
    pub fn read_user_event(
        &self,
        headers: &[(String, Bytes)],
        payload: &[u8],
    ) -> Result<Option<UserEvent>, DecodeError> {
        let (kind, datum) = self.open(headers, payload)?;
        let (id, of, time_ms, what) = match kind {
            SchemaKind::GenesisV1 | SchemaKind::TickV1 => return Ok(None),
            SchemaKind::UserRegisteredV1 => {
                let UserRegisteredV1 { id, user, time, name, display_name } = Self::read(kind, datum)?;
                (id, user, time, AccountEvent::Registered { name, display_name })
            }
            SchemaKind::SessionStartedV1 => {
                let SessionStartedV1 { id, user, time } = Self::read(kind, datum)?;
                (id, user, time, AccountEvent::SessionStarted)
            }
            SchemaKind::SessionEndedV1 => {
                let SessionEndedV1 { id, user, time } = Self::read(kind, datum)?;
                (id, user, time, AccountEvent::SessionEnded)
            }
            other => return Err(misplaced(other)),
        };
        Ok(Some(UserEvent { id, user: self::id(of)?, time_ms, what }))
    }
}

fn creation(kind: &str, title: Option<String>, members: &[Uuid]) -> Result<Action, DecodeError> {
    let named = ConversationKind::from_name(kind);
    let kind = named.ok_or_else(|| DecodeError::Corrupt("no such kind of conversation".into()))?;
    Ok(Action::Create { kind, title, members: users(members)? })
}

fn event(envelope: EnvelopeV1, looked_up: bool, action: Action) -> Result<Event, DecodeError> {
    // Versions count from 1: no program will ever know this one, so nobody is told to upgrade.
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

fn id<T: TryFrom<Uuid, Error = domain::IdError>>(uuid: Uuid) -> Result<T, DecodeError> {
    T::try_from(uuid).map_err(|error| DecodeError::Corrupt(error.to_string()))
}

fn users(uuids: &[Uuid]) -> Result<Vec<UserId>, DecodeError> {
    uuids.iter().copied().map(id).collect()
}

fn number(number: i64) -> Result<u64, DecodeError> {
    u64::try_from(number).map_err(|_| DecodeError::Corrupt(format!("{number} is negative")))
}

fn seq(number: i64) -> Result<Seq, DecodeError> {
    Seq::try_from(self::number(number)?).map_err(|error| DecodeError::Corrupt(error.to_string()))
}

fn misplaced(kind: SchemaKind) -> DecodeError {
    DecodeError::Corrupt(format!("a {} does not belong into this topic", kind.record_name()))
}
