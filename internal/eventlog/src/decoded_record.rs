//! A record of `chat.messages` as both consumers see it: the same reading, so the same decision.

use bytes::Bytes;
use domain::{Appended, ConversationId, Event, Fingerprint, Seq, SeqError};
use events::{Codec, DecodeError, HEADER_TRACE, MessageRecord};

use crate::{Record, partition_of};

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing about any conversation.
    Marker,
    /// What a client asked for.
    Event(Box<Event>),
    /// Bytes that are refused, by everybody and for ever.
    Corrupt(String),
    /// A schema that this program does not know: the conversation is held until one does.
    Unknown(String),
    /// It held its conversation, and an operator has dropped it: as corrupt, whatever it says.
    Dropped,
}

/// A record with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedRecord {
    /// Where the log put it.
    pub appended: Appended,
    /// Proof of which record it is.
    pub fingerprint: Fingerprint,
    /// The conversation of its key; none for markers and for keys that are no conversation.
    pub conversation: Option<ConversationId>,
    /// What it says.
    pub meaning: Meaning,
    /// Its trace context, for the records that follow from it.
    pub trace: Option<Bytes>,
}

impl DecodedRecord {
    /// Reads `record` of a partition of `chat.messages`.
    ///
    /// # Errors
    /// When the offset is beyond what a generation holds.
    pub fn read(
        codec: &Codec,
        generation: u8,
        partition: u32,
        partitions: u32,
        record: &Record,
    ) -> Result<Self, SeqError> {
        let appended = Appended { seq: Seq::new(generation, record.offset)?, append_time_ms: record.append_time_ms };
        let keyed = str::from_utf8(&record.key).ok().and_then(|key| key.parse::<ConversationId>().ok());
        // A record in another partition than its key's would escape its conversation's order.
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
