//! The records as serde structs, field for field those of `schemas/avro`. Versions never change; they are converted to
//! the domain's types in `convert`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    ($($name:ident { $($field:ident: $type:ty),* })*) => {
        $(#[derive(Debug, Serialize, Deserialize)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* })*
    };
}

records! {
    ConversationCreatedV1 { envelope: EnvelopeV1, kind: String, title: Option<String>, members: Vec<Uuid> }
    MembersAddedV1 { envelope: EnvelopeV1, members: Vec<Uuid> }
    ConversationCreatedV2 {
        envelope: EnvelopeV1, kind: String, title: Option<String>, members: Vec<Uuid>, looked_up: bool
    }
    MembersAddedV2 { envelope: EnvelopeV1, members: Vec<Uuid>, looked_up: bool }
    MemberRemovedV1 { envelope: EnvelopeV1, user: Uuid }
    MemberLeftV1 { envelope: EnvelopeV1 }
    RoleChangedV1 { envelope: EnvelopeV1, user: Uuid, role: String }
    TitleChangedV1 { envelope: EnvelopeV1, title: String }
    MessageSentV1 { envelope: EnvelopeV1, body: String, reply_to: Option<Uuid> }
    MessageEditedV1 { envelope: EnvelopeV1, target: Uuid, body: String }
    MessageDeletedV1 { envelope: EnvelopeV1, target: Uuid }
    ReactionAddedV1 { envelope: EnvelopeV1, target: Uuid, emoji: String }
    ReactionRemovedV1 { envelope: EnvelopeV1, target: Uuid }
    IdWithdrawnV1 { envelope: EnvelopeV1 }
    ReadMarkV1 { user: Uuid, conversation: Uuid, seq: i64, ordinal: i64 }
    DeliveryV1 { recipients: Vec<Uuid>, conversation: Option<Uuid>, seq: Option<i64>, frame: String }
    GenesisV1 { nonce: Uuid, generation: i32 }
    TickV1 {}
    UserRegisteredV1 { id: Uuid, user: Uuid, time: i64, name: String, display_name: String }
    SessionStartedV1 { id: Uuid, user: Uuid, time: i64 }
    SessionEndedV1 { id: Uuid, user: Uuid, time: i64 }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct QuarantinedV1 {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) reason: String,
    pub(crate) payload: bytes::Bytes,
}
