//! Values of columns, with one encoding for all engines.

use std::fmt;

use domain::{CommandId, ConversationId, Seq, UserId};
use uuid::Uuid;

use crate::tables::ColumnType;

/// A value of a column, as it was read. Debug output shows only the length of a text, because it may be what a user
/// wrote.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// `uuid`.
    Uuid(Uuid),
    /// `bigint`.
    Bigint(i64),
    /// `text`.
    Text(String),
    /// `boolean`.
    Boolean(bool),
    /// `blob`.
    Blob(Vec<u8>),
}

/// A value of a column, as it is written or looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// `uuid`.
    Uuid(Uuid),
    /// `bigint`.
    Bigint(i64),
    /// `text`.
    Text(&'a str),
    /// `boolean`.
    Boolean(bool),
    /// `blob`.
    Blob(&'a [u8]),
    /// No value. A write of it leaves the cell as it is.
    Unset,
}

impl Value {
    /// The same value, borrowed.
    #[must_use]
    pub const fn borrow(&self) -> ValueRef<'_> {
        match self {
            Self::Uuid(uuid) => ValueRef::Uuid(*uuid),
            Self::Bigint(number) => ValueRef::Bigint(*number),
            Self::Text(text) => ValueRef::Text(text.as_str()),
            Self::Boolean(truth) => ValueRef::Boolean(*truth),
            Self::Blob(bytes) => ValueRef::Blob(bytes.as_slice()),
        }
    }

    /// The value in CQL's wire encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let value = self.borrow();
        let mut out = Vec::with_capacity(value.len());
        value.encode(&mut out);
        out
    }

    /// Decodes a value of that type; `None` when the bytes are not one.
    #[must_use]
    pub fn decode(kind: ColumnType, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            ColumnType::Uuid => Self::Uuid(Uuid::from_slice(bytes).ok()?),
            ColumnType::Bigint => Self::Bigint(i64::from_be_bytes(bytes.try_into().ok()?)),
            ColumnType::Text => Self::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
            ColumnType::Boolean => Self::Boolean(*bytes.first().filter(|_| bytes.len() == 1)? != 0),
            ColumnType::Blob => Self::Blob(bytes.to_vec()),
        })
    }
}

impl ValueRef<'_> {
    /// Whether a column of that type can hold it; any can be unset.
    #[must_use]
    pub const fn fits(&self, kind: ColumnType) -> bool {
        match self {
            Self::Uuid(_) => matches!(kind, ColumnType::Uuid),
            Self::Bigint(_) => matches!(kind, ColumnType::Bigint),
            Self::Text(_) => matches!(kind, ColumnType::Text),
            Self::Boolean(_) => matches!(kind, ColumnType::Boolean),
            Self::Blob(_) => matches!(kind, ColumnType::Blob),
            Self::Unset => true,
        }
    }

    /// Appends the value in CQL's wire encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Uuid(uuid) => out.extend_from_slice(uuid.as_bytes()),
            Self::Bigint(number) => out.extend_from_slice(&number.to_be_bytes()),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Boolean(truth) => out.push(u8::from(*truth)),
            Self::Blob(bytes) => out.extend_from_slice(bytes),
            Self::Unset => {}
        }
    }

    /// The length of that encoding in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Uuid(_) => 16,
            Self::Bigint(_) => 8,
            Self::Text(text) => text.len(),
            Self::Boolean(_) => 1,
            Self::Blob(bytes) => bytes.len(),
            Self::Unset => 0,
        }
    }

    /// Whether that encoding is empty, as of an empty text or blob, which is still a value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.borrow().fmt(f)
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => write!(f, "{uuid}"),
            Self::Bigint(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "[text of {} bytes]", text.len()),
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::Blob(bytes) => write!(f, "{bytes:02x?}"),
            Self::Unset => write!(f, "unset"),
        }
    }
}

impl From<Uuid> for ValueRef<'_> {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

impl From<UserId> for ValueRef<'_> {
    fn from(user: UserId) -> Self {
        Self::Uuid(user.uuid())
    }
}

impl From<ConversationId> for ValueRef<'_> {
    fn from(conversation: ConversationId) -> Self {
        Self::Uuid(conversation.uuid())
    }
}

impl From<i64> for ValueRef<'_> {
    fn from(number: i64) -> Self {
        Self::Bigint(number)
    }
}

/// Counts as `bigint`: slots, ordinals and buckets count events and stay far below 2^63.
impl From<u64> for ValueRef<'_> {
    fn from(number: u64) -> Self {
        Self::Bigint(number.cast_signed())
    }
}

impl From<Seq> for ValueRef<'_> {
    fn from(seq: Seq) -> Self {
        Self::Bigint(seq.timestamp())
    }
}

impl<'a> From<&'a str> for ValueRef<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for ValueRef<'_> {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl<'a> From<&'a [u8]> for ValueRef<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Blob(bytes)
    }
}

/// As bytes, so that ids sort by their stamps on every server.
impl<'a> From<&'a CommandId> for ValueRef<'a> {
    fn from(id: &'a CommandId) -> Self {
        Self::Blob(id.as_bytes())
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for ValueRef<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unset, Into::into)
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

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
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
            (ColumnType::Uuid, Value::from(Uuid::from_u128(7))),
            (ColumnType::Bigint, Value::from(-2_i64)),
            (ColumnType::Text, Value::from("\u{1F600}")),
            (ColumnType::Boolean, Value::from(true)),
            (ColumnType::Blob, Value::from(vec![0, 255])),
            (ColumnType::Text, Value::from("")),
        ];
        for (kind, value) in values {
            assert!(value.borrow().fits(kind));
            assert_eq!(value.to_bytes().len(), value.borrow().len());
            assert_eq!(Value::decode(kind, &value.to_bytes()), Some(value));
        }
        assert_eq!(Value::decode(ColumnType::Bigint, &[1]), None);
        assert_eq!(Value::decode(ColumnType::Boolean, &[]), None);
    }
}
