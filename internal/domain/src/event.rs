//! One event: what a client asked for, as the log has it. Whether it is accepted is the reducer's word.

use crate::{Action, CommandId, ConversationId, Seq, UserId};

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
    /// where members are taken in ([`crate::kinds::About::taken_in`]), from version 2 of the rules on. No field of the
    /// client's: a retry that says otherwise is the same command.
    pub looked_up: bool,
    /// What is asked for.
    pub action: Action,
}

/// Where the log put an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The event's seq.
    pub seq: Seq,
    /// The broker's time of the append, milliseconds since the Unix epoch. May run backwards after a failover.
    pub append_time_ms: i64,
}
