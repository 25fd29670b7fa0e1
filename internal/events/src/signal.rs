//! Conversions between signals and the records of `chat.signals`. Each kind of signal has its own record type.

use domain::{Signal, UserId};

use crate::codec::{Codec, DecodeError, Encoded, Header};
use crate::convert::{id, misplaced, users};
use crate::records::*;

/// A record of `chat.signals`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalRecord {
    /// The recipients; all of them belong to the record's partition.
    pub recipients: Vec<UserId>,
    /// The signal to send them.
    pub signal: Signal,
}

impl Codec {
    /// Encodes a signal.
    #[must_use]
    pub fn signal(&self, record: &SignalRecord) -> Encoded {
        let recipients = uuids(&record.recipients);
        match record.signal {
            Signal::Typing { conversation, user } => {
                let record = TypingV1 { recipients, conversation: conversation.uuid(), user: user.uuid() };
                self.encode(SchemaKind::TypingV1, &record)
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
                let signal = Signal::Typing { conversation: id(record.conversation)?, user: id(record.user)? };
                Ok(Some(SignalRecord { recipients: users(&record.recipients)?, signal }))
            }
            other => Err(misplaced(other)),
        }
    }
}
