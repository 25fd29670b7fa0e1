//! Values of columns, with one encoding for all engines.

use std::borrow::Cow;
use std::fmt;

use domain::{CommandId, ConversationId, MessageText, Seq, UserId};
use uuid::Uuid;

use crate::tables::ColumnType;

/// A value of a column. Debug output shows only the length of a text, because it may be what a user wrote.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// `uuid`.
    Uuid(Uuid),
    /// `bigint`.
    Bigint(i64),
    /// `text`.
    Text(Cow<'static, str>),
    /// `boolean`.
    Boolean(bool),
    /// `blob`.
    Blob(Vec<u8>),
}

impl Value {
    /// The type of the value.
    #[must_use]
    pub const fn kind(&self) -> ColumnType {
        match self {
            Self::Uuid(_) => ColumnType::Uuid,
            Self::Bigint(_) => ColumnType::Bigint,
            Self::Text(_) => ColumnType::Text,
            Self::Boolean(_) => ColumnType::Boolean,
            Self::Blob(_) => ColumnType::Blob,
        }
    }

    /// Appends the value in CQL's wire encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Uuid(uuid) => out.extend(uuid.as_bytes()),
            Self::Bigint(number) => out.extend(number.to_be_bytes()),
            Self::Text(text) => out.extend(text.as_bytes()),
            Self::Boolean(truth) => out.push(u8::from(*truth)),
            Self::Blob(bytes) => out.extend(bytes),
        }
    }

    /// The length of that encoding in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Uuid(_) => 16,
            Self::Bigint(_) => 8,
            Self::Text(text) => text.len(),
            Self::Boolean(_) => 1,
            Self::Blob(bytes) => bytes.len(),
        }
    }

    /// Whether that encoding is empty, as of an empty text or blob, which is still a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value in CQL's wire encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.encode(&mut out);
        out
    }

    /// As [`Self::to_bytes`], without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_owned().into_bytes(),
            Self::Blob(bytes) => bytes,
            Self::Uuid(_) | Self::Bigint(_) | Self::Boolean(_) => self.to_bytes(),
        }
    }

    /// Decodes a value of that type; `None` when the bytes are not one.
    #[must_use]
    pub fn decode(kind: ColumnType, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            ColumnType::Uuid => Self::Uuid(Uuid::from_slice(bytes).ok()?),
            ColumnType::Bigint => Self::Bigint(i64::from_be_bytes(bytes.try_into().ok()?)),
            ColumnType::Text => Self::Text(std::str::from_utf8(bytes).ok()?.to_owned().into()),
            ColumnType::Boolean => Self::Boolean(*bytes.first().filter(|_| bytes.len() == 1)? != 0),
            ColumnType::Blob => Self::Blob(bytes.to_vec()),
        })
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => write!(f, "{uuid}"),
            Self::Bigint(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "[text of {} bytes]", text.len()),
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::Blob(bytes) => write!(f, "{bytes:02x?}"),
        }
    }
}

impl From<Uuid> for Value {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Bigint(number)
    }
}

/// Counts as `bigint`: slots, ordinals and buckets count events and stay far below 2^63.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Bigint(number.cast_signed())
    }
}

impl From<Seq> for Value {
    fn from(seq: Seq) -> Self {
        Self::Bigint(seq.timestamp())
    }
}

impl From<UserId> for Value {
    fn from(user: UserId) -> Self {
        Self::Uuid(user.uuid())
    }
}

impl From<ConversationId> for Value {
    fn from(conversation: ConversationId) -> Self {
        Self::Uuid(conversation.uuid())
    }
}

/// As bytes, so that ids sort by their stamps on every server.
impl From<CommandId> for Value {
    fn from(id: CommandId) -> Self {
        Self::Blob(id.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// The text as it is stored in rows: the only place where it is written to them.
impl From<MessageText> for Value {
    fn from(text: MessageText) -> Self {
        Self::Text(text.into_record().into())
    }
}

/// Names of kinds and roles.
impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_from_its_bytes() {
        let values = [
            Value::from(Uuid::from_u128(7)),
            Value::from(-2_i64),
            Value::from("\u{1F600}"),
            Value::from(true),
            Value::from(vec![0, 255]),
            Value::from(""),
        ];
        for value in values {
            assert_eq!(value.to_bytes().len(), value.len());
            assert_eq!(Value::decode(value.kind(), &value.to_bytes()), Some(value));
        }
        assert_eq!(Value::decode(ColumnType::Bigint, &[1]), None);
        assert_eq!(Value::decode(ColumnType::Boolean, &[]), None);
    }
}
