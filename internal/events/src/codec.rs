//! Encodes and decodes the records of the log.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::SchemaKind;
use crate::schemas::{self, Known};

/// The header with the record's event name.
pub const HEADER_EVENT: &str = "event";
/// The header with the version of the record type.
pub const HEADER_VERSION: &str = "version";
/// The header with the fingerprint of the schema: Rabin over its canonical form, 16 hex digits.
pub const HEADER_SCHEMA: &str = "schema";
/// The header with the trace context (W3C `traceparent`).
pub const HEADER_TRACE: &str = "traceparent";
/// The header with an id by which consumers drop duplicates, on records that may be written more than once.
pub const HEADER_ID: &str = "id";

/// A header of a record: a name and bytes. Names of ours cost no allocation ([`header_name`]).
pub type Header = (Cow<'static, str>, Bytes);

/// The name of a header.
#[must_use]
pub fn header_name(name: &str) -> Cow<'static, str> {
    const OURS: [&str; 5] = [HEADER_EVENT, HEADER_VERSION, HEADER_SCHEMA, HEADER_TRACE, HEADER_ID];
    OURS.into_iter().find(|ours| *ours == name).map_or_else(|| name.to_owned().into(), Cow::Borrowed)
}

/// The prefix of Confluent's wire format: a zero byte and the schema's id, big-endian.
const PREFIX_BYTES: usize = 5;

/// A record's body and the headers that describe it. Debug output shows only the body's length, because the body
/// may be what a user wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The headers `event`, `version` and `schema`.
    pub headers: Vec<Header>,
    /// The body in Confluent's wire format.
    pub payload: Bytes,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = format_args!("[{} bytes]", self.payload.len());
        f.debug_struct("Encoded").field("headers", &self.headers).field("payload", &payload).finish()
    }
}

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The schema is not one of this program's: the conversation is held until the program is upgraded.
    #[error("the schema {0} is not one that this program knows: upgrade it")]
    UnknownSchema(String),
    /// The schema is known, but the bytes do not match it or have impossible values. Every program refuses such a
    /// record.
    #[error("the record is corrupt: {0}")]
    Corrupt(String),
}

/// Whether a record names its schema in a header, as the records of all our programs do.
#[must_use]
pub fn says_its_schema(headers: &[Header]) -> bool {
    headers.iter().any(|(name, value)| name == HEADER_SCHEMA && is_fingerprint(value))
}

/// Whether a header's value has the form of a schema fingerprint: 16 hex digits.
fn is_fingerprint(value: &[u8]) -> bool {
    value.len() == 16 && value.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Encodes and decodes records. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Codec {
    /// The id of each schema, in the order of [`SchemaKind::ALL`].
    ids: Arc<[u32]>,
    /// The schema of each id, for records without a `schema` header.
    by_id: Arc<HashMap<u32, SchemaKind>>,
}

impl Codec {
    /// The codec without a registry: the id of a schema is its index in our own list.
    #[must_use]
    pub fn compiled_in() -> Self {
        Self::with_ids((1..).take(SchemaKind::ALL.len()).collect())
    }

    /// The codec of a registry that gave our schemas these ids, in the order of [`SchemaKind::ALL`].
    #[must_use]
    pub fn with_ids(ids: Vec<u32>) -> Self {
        let by_id = ids.iter().copied().zip(SchemaKind::ALL.iter().copied()).collect();
        Self { ids: ids.into(), by_id: Arc::new(by_id) }
    }

    /// Encodes the record with the schema of that kind.
    pub(crate) fn encode<T: Serialize>(&self, kind: SchemaKind, record: &T) -> Encoded {
        let known = schemas::of(kind);
        let mut payload = BytesMut::with_capacity(256).writer();
        payload.get_mut().put_u8(0);
        payload.get_mut().put_u32(self.ids[kind as usize]);
        known.writer.write_ser(&mut payload, record).expect("a record struct has the fields of its schema");
        let header = |name: &'static str, value: &'static str| (name.into(), Bytes::from_static(value.as_bytes()));
        Encoded {
            headers: vec![
                header(HEADER_EVENT, kind.event_name()),
                header(HEADER_VERSION, kind.version()),
                header(HEADER_SCHEMA, &known.fingerprint),
            ],
            payload: payload.into_inner().freeze(),
        }
    }

    /// The kind of the record, by its `schema` header or else by its id, and its datum.
    pub(crate) fn open<'p>(
        &self,
        headers: &[Header],
        payload: &'p [u8],
    ) -> Result<(SchemaKind, &'p [u8]), DecodeError> {
        let Some((prefix, datum)) = payload.split_at_checked(PREFIX_BYTES) else {
            return Err(DecodeError::Corrupt("it is shorter than the wire format's prefix".into()));
        };
        // Check this first: bytes that are not in the wire format have no schema, so no upgrade will make them
        // readable.
        if prefix[0] != 0 {
            return Err(DecodeError::Corrupt(format!("it begins with {:#04x}, not with a zero byte", prefix[0])));
        }
        let schema = headers.iter().find(|(name, _)| name == HEADER_SCHEMA).map(|(_, value)| &value[..]);
        // A `schema` header that is no fingerprint was written by another producer and is ignored.
        let kind = match schema.filter(|schema| is_fingerprint(schema)) {
            Some(fingerprint) => {
                let same = |known: &&Known| known.fingerprint.as_bytes() == fingerprint;
                let known = schemas::all().iter().find(same);
                known
                    .map(|known| known.kind)
                    .ok_or_else(|| DecodeError::UnknownSchema(String::from_utf8_lossy(fingerprint).into_owned()))?
            }
            None => {
                let id = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
                let kind = self.by_id.get(&id).copied();
                kind.ok_or_else(|| DecodeError::UnknownSchema(format!("of registry id {id}")))?
            }
        };
        Ok((kind, datum))
    }

    /// Decodes the datum as a record of that kind; trailing bytes are refused.
    pub(crate) fn read<T: DeserializeOwned>(kind: SchemaKind, datum: &[u8]) -> Result<T, DecodeError> {
        let mut rest = datum;
        let corrupt = |error: apache_avro::Error| DecodeError::Corrupt(format!("{}: {error}", kind.record_name()));
        let record = schemas::of(kind).reader.read_deser(&mut rest).map_err(corrupt)?;
        if rest.is_empty() {
            Ok(record)
        } else {
            Err(DecodeError::Corrupt(format!("{}: {} bytes too many", kind.record_name(), rest.len())))
        }
    }
}
