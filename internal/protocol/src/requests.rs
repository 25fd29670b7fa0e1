//! The bodies of HTTP requests. Each command names itself with a UUIDv7 of the client's, the same one when it is sent
//! again; the rest of what it needs stands in the path. Fields that are not known are left alone.

use domain::{CommandId, MessageText, Seq, UserId};
use serde::{Deserialize, Serialize};

use crate::integer::integer;

/// Opens a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateBody {
    /// The command.
    pub id: CommandId,
    /// `direct` or `group`.
    pub kind: String,
    /// Groups may have one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// The first members, with or without the caller.
    pub members: Vec<UserId>,
}

/// Adds members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddMembersBody {
    /// The command.
    pub id: CommandId,
    /// Who.
    pub members: Vec<UserId>,
}

/// Changes a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleBody {
    /// The command.
    pub id: CommandId,
    /// `member`, `admin` or `owner`.
    pub role: String,
}

/// Changes the title.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TitleBody {
    /// The command.
    pub id: CommandId,
    /// Empty for none.
    pub title: String,
}

/// Says something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendBody {
    /// The command, and the message's address from then on.
    pub id: CommandId,
    /// The text.
    #[serde(with = "crate::text")]
    pub body: MessageText,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<CommandId>,
}

/// Gives a message another text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditBody {
    /// The command.
    pub id: CommandId,
    /// The new text.
    #[serde(with = "crate::text")]
    pub body: MessageText,
}

/// Reacts to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactBody {
    /// The command.
    pub id: CommandId,
    /// The emoji.
    pub emoji: String,
}

/// A command that needs nothing but its id: in a body, or in the query of a `DELETE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandBody {
    /// The command.
    pub id: CommandId,
}

/// Read up to an entry; also the answer, with the entry as the server found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkUpTo {
    /// The entry.
    #[serde(deserialize_with = "integer")]
    pub seq: Seq,
}
