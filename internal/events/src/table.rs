//! The macro that generates, from the table of record types in `records`, all code that covers every type.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::SchemaKind;
use crate::codec::{Codec, DecodeError};

/// Generates the structs of the records, [`SchemaKind`], and the description for people (`fields_of`).
macro_rules! record_types {
    ($($name:ident = $event:literal v $version:literal { $($field:ident: $type:ty),* })*) => {
        $(#[derive(Debug, Serialize, Deserialize)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* })*

        /// A record type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // each is described in its schema
        pub enum SchemaKind { $($name),* }

        impl SchemaKind {
            /// Every record type, in the order of the ids that they have without a registry.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The record's name in its schema, version included.
            #[must_use]
            pub const fn record_name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The event's name, without the version: the header `event`.
            #[must_use]
            pub const fn event_name(self) -> &'static str {
                match self { $(Self::$name => $event),* }
            }

            /// The version: the header `version`.
            #[must_use]
            pub const fn version(self) -> &'static str {
                match self { $(Self::$name => $version),* }
            }

            /// The schema's text.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../../../schemas/avro/", stringify!($name), ".avsc"))),*
                }
            }
        }

        /// Decodes a record of that type into JSON, with its fields named as in its schema.
        pub(crate) fn fields_of(kind: SchemaKind, datum: &[u8]) -> Result<Value, DecodeError> {
            match kind { $(SchemaKind::$name => as_json::<$name>(kind, datum)),* }
        }
    };
}

pub(crate) use record_types;

/// The fields of a record as JSON, named as in its schema.
pub(crate) fn as_json<T: Serialize + DeserializeOwned>(kind: SchemaKind, datum: &[u8]) -> Result<Value, DecodeError> {
    let record: T = Codec::read(kind, datum)?;
    serde_json::to_value(&record).map_err(|error| DecodeError::Corrupt(error.to_string()))
}
