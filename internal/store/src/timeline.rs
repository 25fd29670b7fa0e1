//! The types that the API's reads return.

use domain::{ConversationId, Role, Seq, UserId};

/// The direction of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Towards older entries: descending by seq.
    Before,
    /// Towards newer entries: ascending by seq.
    After,
}

/// A page of a timeline, by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The seq where the page begins, exclusive; `None` for the newest (before) or the oldest entry (after).
    pub anchor: Option<Seq>,
    /// The direction.
    pub direction: Direction,
    /// The most entries of the page.
    pub limit: usize,
}

/// The head of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The seq of the last accepted event of any kind.
    pub seq: Seq,
    /// The log's time of that event, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The number of timeline entries.
    pub slot: u64,
    /// The number of messages.
    pub ordinal: u64,
    /// The last message, if there is one.
    pub last_message: Option<LastMessage>,
}

/// The last message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastMessage {
    /// Its seq.
    pub seq: Seq,
    /// Its slot.
    pub slot: u64,
}

/// A user's read mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The seq of the last entry that was read; it is also the timestamp of the row.
    pub seq: Seq,
    /// The number of messages up to that entry.
    pub ordinal: u64,
}

/// A user's own row of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserConversation {
    /// The conversation.
    pub conversation: ConversationId,
    /// The current role; `None` for a user who has left.
    pub role: Option<Role>,
    /// The event that changed the role last; for a user who has left, the leaving.
    pub changed: Seq,
    /// The seq of the latest joining.
    pub joined: Seq,
    /// The number of messages before the latest joining.
    pub joined_ordinal: u64,
}

/// Buckets of a timeline in which one read looks for threads, or for mentions of every member: a million entries. They may
/// be far between.
pub const BUCKETS_MAX: usize = 64;

/// Rows that one read of a page looks at, where some of them may say that they do not count any more. With more of those
/// in a row, the page ends.
pub const ROWS_LOOKED_AT_MAX: usize = 10_000;

/// A message that mentions every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MentionOfAll {
    /// Its seq.
    pub seq: Seq,
    /// Its slot in the timeline.
    pub slot: u64,
    /// Its author, who is not meant.
    pub author: UserId,
}

/// A message of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadMessage {
    /// Its seq.
    pub seq: Seq,
    /// Its slot in the timeline.
    pub slot: u64,
    /// The number of the thread's messages up to and including it.
    pub ordinal: u64,
    /// Whether it was deleted.
    pub deleted: bool,
}
