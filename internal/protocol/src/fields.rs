//! The types of the fields of frames, as an error message names them when a field is wrong. Whether a frame is accepted
//! is decided by parsing it, never by these lists.

use domain::{CommandId, ConversationId, Seq, UserId};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

use crate::{ContentBody, DoingName, MentionsBody, OwnStatus, QuoteBody};

/// A field of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub field_type: FieldType,
    /// Whether a frame without it is refused.
    pub is_required: bool,
}

impl Field {
    /// A field that a frame must have.
    #[must_use]
    pub const fn required(name: &'static str, field_type: FieldType) -> Self {
        Self { name, field_type, is_required: true }
    }

    /// A field that a frame may lack.
    #[must_use]
    pub const fn optional(name: &'static str, field_type: FieldType) -> Self {
        Self { name, field_type, is_required: false }
    }
}

/// The type of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// A text.
    Text,
    /// The id of a command.
    Command,
    /// The id of a conversation.
    Conversation,
    /// The id of a user.
    User,
    /// A list of ids of users.
    Users,
    /// The seq of an entry.
    Seq,
    /// True or false.
    Flag,
    /// What somebody who is typing does.
    Doing,
    /// How present a user is at a device.
    Status,
    /// Whom a message mentions.
    Mentions,
    /// A part of a message.
    Quote,
    /// Content of another kind.
    Content,
}

impl FieldType {
    /// The type, to follow "must be".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Command => "an id, a text with a UUIDv7",
            Self::Conversation => "a conversation's id, a text with a UUID",
            Self::User => "a user's id, a text with a UUID",
            Self::Users => "a list of users' ids",
            Self::Seq => "the seq of an entry, a whole number",
            Self::Flag => "true or false",
            Self::Status => "'online', 'idle' or 'dnd'",
            Self::Doing => "'text', 'file' or 'assistant'",
            Self::Mentions => "an object with 'users', a list of users' ids, and 'all', true or false",
            Self::Quote => "an object with 'from' and 'to', whole numbers of characters",
            Self::Content => "an object with 'type' and 'data', two texts",
        }
    }

    /// Whether the value is of the type.
    #[must_use]
    pub fn takes(self, value: &Value) -> bool {
        fn is<T: DeserializeOwned>(value: &Value) -> bool {
            T::deserialize(value).is_ok()
        }
        match self {
            Self::Text => value.is_string(),
            Self::Command => is::<CommandId>(value),
            Self::Conversation => is::<ConversationId>(value),
            Self::User => is::<UserId>(value),
            Self::Users => is::<Vec<UserId>>(value),
            Self::Seq => is::<Seq>(value),
            Self::Flag => value.is_boolean(),
            Self::Status => is::<OwnStatus>(value),
            Self::Doing => is::<DoingName>(value),
            Self::Mentions => is::<MentionsBody>(value),
            Self::Quote => is::<QuoteBody>(value),
            Self::Content => is::<ContentBody>(value),
        }
    }
}

/// Deserializes a flag that may be absent or `null`, which mean false.
pub(crate) fn flag<'de, D: Deserializer<'de>>(json: D) -> Result<bool, D::Error> {
    Option::<bool>::deserialize(json).map(Option::unwrap_or_default)
}
