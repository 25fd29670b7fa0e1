//! Conversions between signals and the records of `chat.signals`. Each kind of signal has its own record type.

use domain::{Doing, Presence, Signal, Status, UserId};
use uuid::Uuid;

use crate::codec::{Codec, DecodeError, Encoded, Header};
use crate::convert::{id, misplaced, users};
use crate::records::*;

/// A record of `chat.signals`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalRecord {
    /// A signal for users.
    Told {
        /// The recipients; all of them belong to the record's partition.
        recipients: Vec<UserId>,
        /// The signal to send them.
        signal: Signal,
    },
    /// A node wants to know how present these users are, now and for a while. They belong to the record's partition.
    Watch {
        /// The users.
        users: Vec<UserId>,
        /// The partition that is to be told, which the node reads.
        partition: u32,
    },
    /// How present users are at one node: the answer to a watch.
    Presence {
        /// The node.
        node: Uuid,
        /// What it knows.
        states: Vec<Presence>,
    },
}

impl Codec {
    /// Encodes a record of `chat.signals`.
    #[must_use]
    pub fn signal(&self, record: &SignalRecord) -> Encoded {
        match record {
            SignalRecord::Told { recipients, signal } => self.told(uuids(recipients), *signal),
            SignalRecord::Watch { users, partition } => {
                let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
                self.encode(SchemaKind::WatchV1, &WatchV1 { users: uuids(users), partition })
            }
            SignalRecord::Presence { node, states } => {
                let state = |presence: &Presence| StateV1 {
                    user: presence.user.uuid(),
                    status: presence.status.name().to_owned(),
                    since: presence.since_ms,
                };
                let record = PresenceV1 { node: *node, states: states.iter().map(state).collect() };
                self.encode(SchemaKind::PresenceV1, &record)
            }
        }
    }

    fn told(&self, recipients: Vec<Uuid>, signal: Signal) -> Encoded {
        match signal {
            Signal::Typing { conversation, user, doing, thread } => {
                let (conversation, user) = (conversation.uuid(), user.uuid());
                // What programs of version 1 can say they are told as before.
                if (doing, thread) == (Doing::Text, None) {
                    return self.encode(SchemaKind::TypingV1, &TypingV1 { recipients, conversation, user });
                }
                let (doing, thread) = (doing.name().to_owned(), thread.map(|root| root.uuid()));
                self.encode(SchemaKind::TypingV2, &TypingV2 { recipients, conversation, user, doing, thread })
            }
        }
    }

    /// Decodes a record of `chat.signals`; `None` for genesis records and ticks.
    ///
    /// # Errors
    /// As [`Codec::read_message`], but no conversation is held: readers of signals skip the record.
    pub fn read_signal(&self, headers: &[Header], payload: &[u8]) -> Result<Option<SignalRecord>, DecodeError> {
        let (kind, datum) = self.open(headers, payload)?;
        match kind {
            SchemaKind::GenesisV1 | SchemaKind::TickV1 => Ok(None),
            SchemaKind::TypingV1 => {
                let record: TypingV1 = Self::read(kind, datum)?;
                let (conversation, user) = (id(record.conversation)?, id(record.user)?);
                let signal = Signal::Typing { conversation, user, doing: Doing::Text, thread: None };
                Ok(Some(SignalRecord::Told { recipients: users(&record.recipients)?, signal }))
            }
            SchemaKind::TypingV2 => {
                let record: TypingV2 = Self::read(kind, datum)?;
                let (conversation, user) = (id(record.conversation)?, id(record.user)?);
                // What a newer program calls otherwise is shown as typing.
                let doing = Doing::from_name(&record.doing).unwrap_or_default();
                let thread = record.thread.map(id).transpose()?;
                let signal = Signal::Typing { conversation, user, doing, thread };
                Ok(Some(SignalRecord::Told { recipients: users(&record.recipients)?, signal }))
            }
            SchemaKind::WatchV1 => {
                let record: WatchV1 = Self::read(kind, datum)?;
                let partition = u32::try_from(record.partition);
                let partition = partition.map_err(|_| DecodeError::Corrupt("no such partition".into()))?;
                Ok(Some(SignalRecord::Watch { users: users(&record.users)?, partition }))
            }
            SchemaKind::PresenceV1 => {
                let record: PresenceV1 = Self::read(kind, datum)?;
                let state = |StateV1 { user, status, since: since_ms }| {
                    // A status of a newer program is some kind of presence.
                    let status = Status::from_name(&status).unwrap_or(Status::Online);
                    Ok(Presence { user: id(user)?, status, since_ms })
                };
                let states = record.states.into_iter().map(state).collect::<Result<_, _>>()?;
                Ok(Some(SignalRecord::Presence { node: record.node, states }))
            }
            other => Err(misplaced(other)),
        }
    }
}
