//! The bodies of HTTP requests. Each command has an id, a UUIDv7 that the client makes and that stays the same
//! when the command is sent again. Conversations, users and messages that it concerns are in the path. Unknown
//! fields are ignored.

use domain::{CommandId, MessageText, Seq, UserId};
use serde::{Deserialize, Serialize};

use crate::fields::flag;
use crate::integer::integer;
use crate::said::{ContentBody, MentionsBody, QuoteBody};

/// Opens a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateBody {
    /// The command's id.
    pub id: CommandId,
    /// `direct` or `group`.
    pub kind: String,
    /// The title; only groups may have one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// The first members; the caller may be left out.
    pub members: Vec<UserId>,
}

/// Adds members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddMembersBody {
    /// The command's id.
    pub id: CommandId,
    /// The users to add.
    pub members: Vec<UserId>,
}

/// Changes a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleBody {
    /// The command's id.
    pub id: CommandId,
    /// `member`, `admin` or `owner`.
    pub role: String,
}

/// Changes the title.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TitleBody {
    /// The command's id.
    pub id: CommandId,
    /// The new title; empty for none.
    pub title: String,
}

/// Sends a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendBody {
    /// The command's id, by which the message is referred to from then on.
    pub id: CommandId,
    /// The text.
    #[serde(with = "crate::text")]
    pub body: MessageText,
    /// The id of the message that it replies to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<CommandId>,
    /// The root of the thread that it is sent into.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thread: Option<CommandId>,
    /// Whether a message of a thread is in the main view as well.
    #[serde(skip_serializing_if = "std::ops::Not::not", default, deserialize_with = "flag")]
    pub also_in_conversation: bool,
    /// The part of the message that it replies to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quote: Option<QuoteBody>,
    /// Whom it mentions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mentions: Option<MentionsBody>,
    /// Content of another kind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<ContentBody>,
}

/// Edits a message: what it says from then on, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditBody {
    /// The command's id.
    pub id: CommandId,
    /// The new text.
    #[serde(with = "crate::text")]
    pub body: MessageText,
    /// Whom it mentions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mentions: Option<MentionsBody>,
    /// Content of another kind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<ContentBody>,
}

/// Reacts to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactBody {
    /// The command's id.
    pub id: CommandId,
    /// The emoji.
    pub emoji: String,
}

/// A request to remove a reaction, in the query of a `DELETE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreactBody {
    /// The command's id.
    pub id: CommandId,
    /// The emoji.
    pub emoji: String,
}

/// A command without other fields: in a body, or in the query of a `DELETE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandBody {
    /// The command's id.
    pub id: CommandId,
}

/// A request to mark everything up to an entry as read; also its answer, with the entry that the server found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkUpTo {
    /// The seq of the entry.
    #[serde(deserialize_with = "integer")]
    pub seq: Seq,
}
