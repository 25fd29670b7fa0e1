//! What the API reads back.

use domain::{CommandId, Content, ConversationId, Role, Seq, UserId};

/// Which way a page goes.
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
    /// Exclusive; `None`: from the newest (before) or the oldest (after).
    pub anchor: Option<Seq>,
    /// Which way.
    pub direction: Direction,
    /// At most so many entries.
    pub limit: usize,
}

/// An entry of the timeline as it reads now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its seq.
    pub seq: Seq,
    /// Its slot in the timeline.
    pub slot: u64,
    /// Messages up to and including it.
    pub ordinal: u64,
    /// The command's id.
    pub id: CommandId,
    /// Who.
    pub author: UserId,
    /// The log's time, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What; a deleted message has an empty body.
    pub content: Content,
    /// The event that changed it last, reactions included; its own seq if none has.
    pub changed: Seq,
    /// The log's time of the last edit.
    pub edited_ms: Option<i64>,
    /// Whether the message is gone.
    pub deleted: bool,
    /// Reactions that stand, by user.
    pub reactions: Vec<MessageReaction>,
}

/// One user's reaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageReaction {
    /// Who.
    pub user: UserId,
    /// The emoji.
    pub emoji: String,
}

/// Where a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last accepted event of any kind.
    pub seq: Seq,
    /// The log's time of it, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Timeline entries.
    pub slot: u64,
    /// Messages.
    pub ordinal: u64,
    /// The last message, if there is one.
    pub last_message: Option<LastMessage>,
}

/// Where the last message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastMessage {
    /// Its seq.
    pub seq: Seq,
    /// Its slot.
    pub slot: u64,
}

/// How far a user has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The entry's seq: also the row's timestamp.
    pub seq: Seq,
    /// Messages up to it.
    pub ordinal: u64,
}

/// A user's row of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserConversation {
    /// The conversation.
    pub conversation: ConversationId,
    /// The role now; `None` for who left.
    pub role: Option<Role>,
    /// The event that changed the role last (of who left: the leaving).
    pub changed: Seq,
    /// The latest joining.
    pub joined: Seq,
    /// Messages before the latest joining.
    pub joined_ordinal: u64,
}
