//! The record types: the table below has one line for each, with the fields of its schema in `schemas/avro`. All
//! code that covers every type is generated from the table: the structs, [`SchemaKind`], and the description for
//! people. Versions never change; `message` and `convert` convert them to the domain's types.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::codec::{Codec, DecodeError};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EnvelopeV1 {
    pub(crate) id: Uuid,
    pub(crate) conversation: Uuid,
    pub(crate) author: Uuid,
    pub(crate) received: i64,
    pub(crate) rules: i32,
    pub(crate) key_id: Option<String>,
}

macro_rules! records {
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

// The order determines the ids of schemas where no registry is configured: append, never reorder.
records! {
    ConversationCreatedV1 = "conversation_created" v "1" {
        envelope: EnvelopeV1, kind: String, title: Option<String>, members: Vec<Uuid>
    }
    MembersAddedV1 = "members_added" v "1" { envelope: EnvelopeV1, members: Vec<Uuid> }
    MemberRemovedV1 = "member_removed" v "1" { envelope: EnvelopeV1, user: Uuid }
    MemberLeftV1 = "member_left" v "1" { envelope: EnvelopeV1 }
    RoleChangedV1 = "role_changed" v "1" { envelope: EnvelopeV1, user: Uuid, role: String }
    TitleChangedV1 = "title_changed" v "1" { envelope: EnvelopeV1, title: String }
    MessageSentV1 = "message_sent" v "1" { envelope: EnvelopeV1, body: String, reply_to: Option<Uuid> }
    MessageEditedV1 = "message_edited" v "1" { envelope: EnvelopeV1, target: Uuid, body: String }
    MessageDeletedV1 = "message_deleted" v "1" { envelope: EnvelopeV1, target: Uuid }
    ReactionAddedV1 = "reaction_added" v "1" { envelope: EnvelopeV1, target: Uuid, emoji: String }
    ReactionRemovedV1 = "reaction_removed" v "1" { envelope: EnvelopeV1, target: Uuid }
    IdWithdrawnV1 = "id_withdrawn" v "1" { envelope: EnvelopeV1 }
    ReadMarkV1 = "read_mark" v "1" { user: Uuid, conversation: Uuid, seq: i64, ordinal: i64 }
    DeliveryV1 = "delivery" v "1" { recipients: Vec<Uuid>, conversation: Option<Uuid>, seq: Option<i64>, frame: String }
    QuarantinedV1 = "quarantined" v "1" { topic: String, partition: i32, offset: i64, reason: String, payload: Bytes }
    GenesisV1 = "genesis" v "1" { nonce: Uuid, generation: i32 }
    TickV1 = "tick" v "1" {}
    UserRegisteredV1 = "user_registered" v "1" { id: Uuid, user: Uuid, time: i64, name: String, display_name: String }
    SessionStartedV1 = "session_started" v "1" { id: Uuid, user: Uuid, time: i64 }
    SessionEndedV1 = "session_ended" v "1" { id: Uuid, user: Uuid, time: i64 }
    ConversationCreatedV2 = "conversation_created" v "2" {
        envelope: EnvelopeV1, kind: String, title: Option<String>, members: Vec<Uuid>, looked_up: bool
    }
    MembersAddedV2 = "members_added" v "2" { envelope: EnvelopeV1, members: Vec<Uuid>, looked_up: bool }
    TypingV1 = "typing" v "1" { recipients: Vec<Uuid>, conversation: Uuid, user: Uuid }
}

fn as_json<T: Serialize + DeserializeOwned>(kind: SchemaKind, datum: &[u8]) -> Result<Value, DecodeError> {
    let record: T = Codec::read(kind, datum)?;
    serde_json::to_value(&record).map_err(|error| DecodeError::Corrupt(error.to_string()))
}
