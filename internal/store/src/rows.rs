//! Typed row writes: every row derived from `chat.messages`.

use domain::{CommandId, Content, ConversationId, IdRow, Refusal, Role, Seq, Settings, UserId};

/// Timeline entries per partition of the timeline.
pub const BUCKET_PLACES: u64 = 16_384;

/// The bucket that holds a place of the timeline.
#[must_use]
pub const fn bucket_of(place: u64) -> u64 {
    place / BUCKET_PLACES
}

/// Rows of one conversation, to be written together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationRows {
    /// The conversation that they all belong to.
    pub conversation: ConversationId,
    /// The rows, in the order of the events; the engine keeps the order of [`Phase`].
    pub rows: Vec<RowWrite>,
}

/// One write with its timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowWrite {
    /// Microseconds, as in CQL: the event's seq; for a monotone cell its own value.
    pub timestamp: i64,
    /// What is written.
    pub row: Row,
}

/// When a row may be written: all rows of a phase before any of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Timeline and version rows.
    Rows,
    /// Id rows.
    Ids,
    /// Head rows.
    Heads,
}

/// One row write: the cells it names, and no others. A `None` writes no cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A new entry: `timeline ((conversation, bucket), seq)`.
    Entry {
        /// The event's place in the log.
        seq: Seq,
        /// Its place in the timeline.
        place: u64,
        /// Messages up to and including it.
        ordinal: u64,
        /// The command's id.
        id: CommandId,
        /// Who.
        author: UserId,
        /// The log's time, milliseconds since the Unix epoch.
        time_ms: i64,
        /// What.
        content: Content,
    },
    /// Another text for a message: cells `body`, `changed`, `edited_ms` of its timeline row.
    Edit {
        /// The message's seq.
        seq: Seq,
        /// The message's place.
        place: u64,
        /// The new text.
        body: String,
        /// The event that changed it.
        changed: Seq,
        /// The log's time of that event.
        time_ms: i64,
    },
    /// A message is gone: cells `body` (empty), `deleted`, `changed` of its timeline row.
    Deletion {
        /// The message's seq.
        seq: Seq,
        /// The message's place.
        place: u64,
        /// The event that deleted it.
        changed: Seq,
    },
    /// Where a bucket of the timeline begins: `buckets (conversation, bucket)`.
    Bucket {
        /// The bucket.
        bucket: u64,
        /// The seq of its first entry.
        start: Seq,
    },
    /// A member's version: `members (conversation, user, seq)`.
    Member {
        /// Who.
        user: UserId,
        /// The event.
        seq: Seq,
        /// The role from here on; `None` for who left.
        role: Option<Role>,
    },
    /// The user's own row, on joining: `user_conversations (user, conversation)`, cells `role`, `changed`, `joined`,
    /// `joined_ordinal`.
    Joined {
        /// Who.
        user: UserId,
        /// The role.
        role: Role,
        /// The event.
        seq: Seq,
        /// Messages before the joining: they are not unread.
        ordinal: u64,
    },
    /// The user's own row, on a change of role or on leaving: cells `role`, `changed`.
    UserRole {
        /// Who.
        user: UserId,
        /// The role from here on; `None` for who left.
        role: Option<Role>,
        /// The event.
        seq: Seq,
    },
    /// A version of the settings: `settings (conversation, seq)`.
    Settings {
        /// The event.
        seq: Seq,
        /// The settings from here on.
        settings: Settings,
    },
    /// A user's reaction: `reactions ((conversation, bucket), message seq, user)`.
    Reaction {
        /// The message's seq.
        message: Seq,
        /// The message's place.
        place: u64,
        /// Who reacted.
        user: UserId,
        /// With what; empty for taken back.
        emoji: String,
        /// The event.
        changed: Seq,
    },
    /// A message that is gone does not count as unread: `deletions ((conversation, bucket), message)`.
    Gone {
        /// The message's seq.
        message: Seq,
        /// The message's place.
        place: u64,
        /// The event that deleted it.
        deleted: Seq,
    },
    /// How far a user has spoken, and so read: `sent (user, conversation)`.
    Sent {
        /// Who.
        user: UserId,
        /// Their last message.
        seq: Seq,
        /// Messages up to and including it.
        ordinal: u64,
    },
    /// Somebody took a user into a group: `invitations (user, conversation)`.
    Invited {
        /// Who was taken in.
        user: UserId,
        /// By whom.
        inviter: UserId,
        /// The joining.
        seq: Seq,
    },
    /// A command that was refused: `refusals ((conversation, author), id)`.
    Refusal {
        /// Whose command.
        author: UserId,
        /// Its id.
        id: CommandId,
        /// Why.
        reason: Refusal,
        /// The copy that was refused.
        seq: Seq,
    },
    /// An accepted id: `ids ((conversation, week), id)`.
    Id {
        /// The id.
        id: CommandId,
        /// Its row; `deleted` is not written.
        row: IdRow,
    },
    /// The deletion of the message under an id: cell `deleted`.
    IdDeleted {
        /// The id.
        id: CommandId,
        /// The event that deleted it.
        deleted: Seq,
    },
    /// The conversation's newest accepted stamp: cell `newest_stamp` of the head, timestamp = value.
    NewestStamp {
        /// Milliseconds since the Unix epoch.
        stamp_ms: i64,
    },
    /// The last accepted event of any kind: `heads (conversation)`.
    Head {
        /// The event.
        seq: Seq,
        /// The log's time.
        time_ms: i64,
        /// Timeline entries after it.
        place: u64,
        /// Messages after it.
        ordinal: u64,
    },
    /// The last message: cells `message_seq`, `message_place` of the head.
    LastMessage {
        /// The message's seq.
        seq: Seq,
        /// The message's place.
        place: u64,
    },
}

impl Row {
    /// When it may be written.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Id { .. } | Self::IdDeleted { .. } => Phase::Ids,
            Self::Head { .. } | Self::LastMessage { .. } | Self::NewestStamp { .. } => Phase::Heads,
            Self::Entry { .. }
            | Self::Edit { .. }
            | Self::Deletion { .. }
            | Self::Bucket { .. }
            | Self::Member { .. }
            | Self::Joined { .. }
            | Self::UserRole { .. }
            | Self::Settings { .. }
            | Self::Reaction { .. }
            | Self::Gone { .. }
            | Self::Sent { .. }
            | Self::Invited { .. }
            | Self::Refusal { .. } => Phase::Rows,
        }
    }
}
