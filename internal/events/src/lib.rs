//! Events on the wire: the Avro records of `schemas/avro`, their headers, the registry, and the table of topics.
//!
//! Every record is in Confluent's wire format (0x00, schema id, datum) with headers that name the event, its
//! version and the fingerprint of its schema. Decoding goes by the fingerprint, so a registry that assigns new ids
//! to schemas makes no record unreadable. A version is a record type of its own (`MessageSentV1`) and never
//! changes; records are converted to the domain's types in this crate only.

mod codec;
mod convert;
mod delivery;
mod describe;
mod records;
mod registry;
mod schemas;
mod signal;
mod table;

pub mod topics;

pub use codec::{
    Codec, DecodeError, Encoded, HEADER_EVENT, HEADER_ID, HEADER_SCHEMA, HEADER_TRACE, HEADER_VERSION, Header,
    header_name, says_its_schema,
};
pub use convert::{AccountEvent, Quarantined, ReadMark, UserEvent};
pub use delivery::{Delivery, DeliveryRef};
pub use records::{MessageRecord, SchemaKind};
pub use registry::{RegistryError, RegistryReport};
pub use signal::SignalRecord;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod wire_tests;
