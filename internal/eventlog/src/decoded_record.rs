//! A decoded record of `chat.messages`. All consumers decode it here, so they decide alike.

use bytes::Bytes;
use domain::{Appended, ConversationId, Event, Fingerprint, Seq, SeqError};
use events::{Codec, DecodeError, HEADER_TRACE, MessageRecord};

use crate::{Record, partition_of};

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// A genesis record or a tick: it belongs to no conversation.
    Marker,
    /// An event: the command of a client.
    Event(Box<Event>),
    /// The record is corrupt: every program refuses it, at any time.
    Corrupt(String),
    /// The schema is not known to this program: the conversation is held until the program is upgraded.
    Unknown(String),
    /// An operator dropped the record, which held its conversation: it counts as corrupt, whatever it contains.
    Dropped,
}

/// A record with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedRecord {
    /// The record's position and append time.
    pub appended: Appended,
    /// A digest that identifies the record.
    pub fingerprint: Fingerprint,
    /// The conversation of its key; `None` for markers and for keys that are no conversation id.
    pub conversation: Option<ConversationId>,
    /// The record's content.
    pub meaning: Meaning,
    /// Its trace context, for the records that are derived from it.
    pub trace: Option<Bytes>,
}

impl DecodedRecord {
    /// Decodes `record`, of a partition of `chat.messages`.
    ///
    /// # Errors
    /// When the offset is above the maximum of a generation.
    pub fn read(
        codec: &Codec,
        generation: u8,
        partition: u32,
        partitions: u32,
        record: &Record,
    ) -> Result<Self, SeqError> {
        let appended = Appended { seq: Seq::new(generation, record.offset)?, append_time_ms: record.append_time_ms };
        let keyed = str::from_utf8(&record.key).ok().and_then(|key| key.parse::<ConversationId>().ok());
        // A record that is not in its key's partition would not be ordered with its conversation's other records.
        let conversation = keyed.filter(|_| partition_of(&record.key, partitions) == partition);
        let meaning = match (codec.read_message(&record.headers, &record.payload), conversation) {
            (Ok(MessageRecord::Marker), _) => Meaning::Marker,
            (Ok(MessageRecord::Event(event)), Some(key)) if event.conversation == key => Meaning::Event(event),
            (Err(DecodeError::UnknownSchema(schema)), Some(_)) => Meaning::Unknown(format!("schema {schema}")),
            (Err(DecodeError::Corrupt(reason)), _) => Meaning::Corrupt(reason),
            (Ok(MessageRecord::Event(_)) | Err(DecodeError::UnknownSchema(_)), _) => {
                Meaning::Corrupt("its key is not its conversation, or belongs into another partition".into())
            }
        };
        let conversation = conversation.filter(|_| meaning != Meaning::Marker);
        let trace = record.header(HEADER_TRACE).map(Bytes::copy_from_slice);
        Ok(Self { appended, fingerprint: record.fingerprint(), conversation, meaning, trace })
    }
}
