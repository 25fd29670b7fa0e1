//! One event: what a client asked for, as the log has it. Whether it is accepted is the reducer's word.

use sha2::{Digest, Sha256};

use crate::{CommandId, ConversationId, ConversationKind, Role, Seq, UserId};

/// A command as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The client's name for the command; retries carry the same one.
    pub id: CommandId,
    /// The conversation it belongs to, and so its partition.
    pub conversation: ConversationId,
    /// The authenticated user behind the command.
    pub author: UserId,
    /// The service's clock when it took the command, milliseconds since the Unix epoch. Informative only.
    pub received_ms: i64,
    /// The version of the rules that judges this event, for ever.
    pub rules: u32,
    /// The key that seals the body; `None` while bodies are not sealed.
    pub key_id: Option<String>,
    /// Whether the service found every user named in `action` in the user tables when it took the command. Asked for
    /// where members are taken in ([`Action::Create`], [`Action::AddMembers`]), from version 2 of the rules on. No field
    /// of the client's: a retry that says otherwise is the same command.
    pub looked_up: bool,
    /// What is asked for.
    pub action: Action,
}

/// What a command asks for. Messages are addressed by the id of the command that sent them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Opens the conversation; the author becomes a member (of a group: its owner).
    Create {
        /// Direct or group.
        kind: ConversationKind,
        /// Groups may have one from the start.
        title: Option<String>,
        /// The first members, with or without the author.
        members: Vec<UserId>,
    },
    /// Adds members to a group (owner, admins).
    AddMembers {
        /// Those who are not members yet join; if all are, the event is refused.
        members: Vec<UserId>,
    },
    /// Removes a member from a group (owner: anybody; admins: plain members).
    RemoveMember {
        /// Who has to go.
        user: UserId,
    },
    /// The author leaves the group. When the owner leaves, the longest-standing admin, else member, becomes owner.
    Leave,
    /// Changes a member's role (owner). Making somebody else owner makes the author an admin.
    ChangeRole {
        /// Whose role.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// Changes a group's title (owner, admins).
    ChangeTitle {
        /// The new title; empty for none.
        title: String,
    },
    /// Says something.
    SendMessage {
        /// The text.
        body: String,
        /// The message it answers; not checked, since it may be gone by the time it is read.
        reply_to: Option<CommandId>,
    },
    /// Gives a message of the author's own another text.
    EditMessage {
        /// The message.
        target: CommandId,
        /// Its new text.
        body: String,
    },
    /// Empties a message of the author's own, for good.
    DeleteMessage {
        /// The message.
        target: CommandId,
    },
    /// Sets the author's one reaction to a message, replacing an earlier one.
    AddReaction {
        /// The message.
        target: CommandId,
        /// The reaction.
        emoji: String,
    },
    /// Takes the author's reaction to a message back.
    RemoveReaction {
        /// The message.
        target: CommandId,
    },
    /// Takes the id of this event, so that a command of the same id that is still on its way is refused.
    Withdraw,
}

impl Action {
    /// The message that the action changes.
    #[must_use]
    pub const fn target(&self) -> Option<CommandId> {
        match self {
            Self::EditMessage { target, .. }
            | Self::DeleteMessage { target }
            | Self::AddReaction { target, .. }
            | Self::RemoveReaction { target } => Some(*target),
            _ => None,
        }
    }

    /// A digest of what the client said, to tell a retry from another command under the same id.
    #[must_use]
    pub fn payload_hash(&self) -> PayloadHash {
        let mut fields = Fields(Sha256::new());
        match self {
            Self::Create { kind, title, members } => {
                // Sorted and without repetition: a list of members is a set.
                let set: std::collections::BTreeSet<_> = members.iter().collect();
                fields.text("create").text(kind.name()).optional(title.as_deref().map(str::as_bytes));
                for member in set {
                    fields.bytes(member.as_bytes());
                }
            }
            Self::AddMembers { members } => {
                let set: std::collections::BTreeSet<_> = members.iter().collect();
                fields.text("add_members");
                for member in set {
                    fields.bytes(member.as_bytes());
                }
            }
            Self::RemoveMember { user } => drop(fields.text("remove_member").bytes(user.as_bytes())),
            Self::Leave => drop(fields.text("leave")),
            Self::ChangeRole { user, role } => {
                fields.text("change_role").bytes(user.as_bytes()).text(role.name());
            }
            Self::ChangeTitle { title } => drop(fields.text("change_title").text(title)),
            Self::SendMessage { body, reply_to } => {
                fields.text("send_message").text(body).optional(reply_to.as_ref().map(|id| id.as_bytes().as_slice()));
            }
            Self::EditMessage { target, body } => {
                fields.text("edit_message").bytes(target.as_bytes()).text(body);
            }
            Self::DeleteMessage { target } => drop(fields.text("delete_message").bytes(target.as_bytes())),
            Self::AddReaction { target, emoji } => {
                fields.text("add_reaction").bytes(target.as_bytes()).text(emoji);
            }
            Self::RemoveReaction { target } => drop(fields.text("remove_reaction").bytes(target.as_bytes())),
            Self::Withdraw => drop(fields.text("withdraw")),
        }
        fields.finish()
    }
}

/// The first sixteen bytes of SHA-256 over a command's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PayloadHash(pub [u8; 16]);

/// Length-prefixed fields, so that no two different commands hash the same bytes. The encoding is stored with every id
/// row: it never changes.
struct Fields(Sha256);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn optional(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            None => self.bytes(&[0]),
            Some(bytes) => self.bytes(&[1]).bytes(bytes),
        }
    }

    fn finish(self) -> PayloadHash {
        let mut hash = [0; 16];
        hash.copy_from_slice(&self.0.finalize()[..16]);
        PayloadHash(hash)
    }
}

/// Where the log put an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The event's place.
    pub seq: Seq,
    /// The broker's time of the append, milliseconds since the Unix epoch. May run backwards after a failover.
    pub append_time_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_commands_apart_and_is_pinned() {
        let target = CommandId::first_at(1);
        let edit = Action::EditMessage { target, body: "a".into() };
        assert_ne!(edit.payload_hash(), Action::EditMessage { target, body: "b".into() }.payload_hash());
        assert_ne!(
            Action::SendMessage { body: "a".into(), reply_to: None }.payload_hash(),
            Action::SendMessage { body: "a".into(), reply_to: Some(target) }.payload_hash()
        );
        // Stored in id rows: a change of the encoding would turn old retries into conflicts.
        let hash = Action::SendMessage { body: "hello".into(), reply_to: None }.payload_hash();
        assert_eq!(
            hash.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            "26c252e09fde48cb287ebd1a4d17f7f6"
        );
    }
}
