//! Conversions between records and the domain's types, except for the records of `chat.messages`, which `records`
//! converts.

use std::fmt;

use bytes::Bytes;
use domain::{ConversationId, Seq, UserId};
use uuid::Uuid;

use crate::codec::{Codec, DecodeError, Encoded, Header};
use crate::records::*;

/// A user's read mark, from a record of `chat.receipts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark {
    /// The user who has read.
    pub user: UserId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The seq of the last entry that the user has read.
    pub seq: Seq,
    /// The number of messages up to and including that entry.
    pub ordinal: u64,
}

/// A copy of a corrupt record, in `chat.quarantine`. Debug output shows only the payload's length, as for every
/// record.
#[derive(Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The topic of the corrupt record.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Why it is corrupt.
    pub reason: String,
    /// The body of the corrupt record.
    pub payload: Bytes,
}

impl fmt::Debug for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, reason, payload } = self;
        f.debug_struct("Quarantined")
            .field("topic", topic)
            .field("partition", partition)
            .field("offset", offset)
            .field("reason", reason)
            .field("payload", &format_args!("[{} bytes]", payload.len()))
            .finish()
    }
}

/// A record of `users.events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    /// The event's id: a record that is written again has the same one.
    pub id: Uuid,
    /// The account.
    pub user: UserId,
    /// The time on the user service's clock, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What happened.
    pub what: AccountEvent,
}

/// What happened to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountEvent {
    /// The account was registered.
    Registered {
        /// Its unique name.
        name: String,
        /// The name that is shown to others.
        display_name: String,
    },
    /// A device signed in.
    SessionStarted,
    /// A device signed out, or its session was ended.
    SessionEnded,
    /// The user has changed the privacy settings.
    PrivacyChanged,
}

impl Codec {
    /// Encodes a read mark.
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

    /// Decodes a record of `chat.receipts`; `None` for genesis records and ticks.
    ///
    /// # Errors
    /// As [`Codec::read_message`].
    pub fn read_receipt(&self, headers: &[Header], payload: &[u8]) -> Result<Option<ReadMark>, DecodeError> {
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

    /// Encodes the copy of a corrupt record.
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

    /// Encodes a genesis record, the first record of a partition.
    #[must_use]
    pub fn genesis(&self, nonce: [u8; 16], generation: u8) -> Encoded {
        let record = GenesisV1 { nonce: Uuid::from_bytes(nonce), generation: i32::from(generation) };
        self.encode(SchemaKind::GenesisV1, &record)
    }

    /// Whether the record is a genesis record of that generation.
    #[must_use]
    pub fn is_genesis(&self, headers: &[Header], payload: &[u8], generation: u8) -> bool {
        let record = self.open(headers, payload).and_then(|(kind, datum)| match kind {
            SchemaKind::GenesisV1 => Self::read::<GenesisV1>(kind, datum),
            other => Err(misplaced(other)),
        });
        record.is_ok_and(|record| record.generation == i32::from(generation))
    }

    /// Encodes a tick. Ticks keep the retention from trimming a quiet partition until it is empty.
    #[must_use]
    pub fn tick(&self) -> Encoded {
        self.encode(SchemaKind::TickV1, &TickV1 {})
    }

    /// Encodes an account event.
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
            AccountEvent::PrivacyChanged => {
                self.encode(SchemaKind::PrivacyChangedV1, &PrivacyChangedV1 { id, user, time })
            }
            AccountEvent::SessionEnded => self.encode(SchemaKind::SessionEndedV1, &SessionEndedV1 { id, user, time }),
        }
    }

    /// Decodes a record of `users.events`; `None` for genesis records and ticks.
    ///
    /// # Errors
    /// As [`Codec::read_message`].
    pub fn read_user_event(&self, headers: &[Header], payload: &[u8]) -> Result<Option<UserEvent>, DecodeError> {
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
            SchemaKind::PrivacyChangedV1 => {
                let PrivacyChangedV1 { id, user, time } = Self::read(kind, datum)?;
                (id, user, time, AccountEvent::PrivacyChanged)
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

pub(crate) fn id<T: TryFrom<Uuid, Error = domain::IdError>>(uuid: Uuid) -> Result<T, DecodeError> {
    T::try_from(uuid).map_err(|error| DecodeError::Corrupt(error.to_string()))
}

pub(crate) fn users(uuids: &[Uuid]) -> Result<Vec<UserId>, DecodeError> {
    uuids.iter().copied().map(id).collect()
}

fn number(number: i64) -> Result<u64, DecodeError> {
    u64::try_from(number).map_err(|_| DecodeError::Corrupt(format!("{number} is negative")))
}

pub(crate) fn seq(number: i64) -> Result<Seq, DecodeError> {
    Seq::try_from(self::number(number)?).map_err(|error| DecodeError::Corrupt(error.to_string()))
}

pub(crate) fn misplaced(kind: SchemaKind) -> DecodeError {
    DecodeError::Corrupt(format!("a {} does not belong into this topic", kind.record_name()))
}
