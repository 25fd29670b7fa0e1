//! One event: a command of a client, as the log has it. The reducer decides whether it is accepted.

use crate::{Action, CommandId, ConversationId, Seq, UserId};

/// A command as it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The id of the command, chosen by the client; retries carry the same id.
    pub id: CommandId,
    /// The conversation that the command belongs to; it determines the partition.
    pub conversation: ConversationId,
    /// The authenticated user behind the command.
    pub author: UserId,
    /// The time on the service's clock when it received the command, milliseconds since the Unix epoch.
    /// Informative only.
    pub received_ms: i64,
    /// The version of the rules that this event is judged by, at any time.
    pub rules: u32,
    /// The key that seals the body; `None` while bodies are not sealed.
    pub key_id: Option<String>,
    /// Whether the service found every user named in `action` in the user tables when it received the command.
    /// Required from version 2 of the rules on where users become members ([`crate::kinds::About::taken_in`]). The
    /// service sets it, not the client, so it is not part of the payload hash: a retry with another value is still
    /// the same command.
    pub looked_up: bool,
    /// The action that the client asks for, with its fields.
    pub action: Action,
}

/// The position and time that the log gave an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The event's seq.
    pub seq: Seq,
    /// The broker's time of the append, milliseconds since the Unix epoch. It may run backwards after a failover.
    pub append_time_ms: i64,
}
