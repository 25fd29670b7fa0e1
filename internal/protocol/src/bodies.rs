//! The bodies of HTTP answers.

use domain::{CommandId, ConversationId, MessageText, Seq, UserId};
use serde::{Deserialize, Serialize};

use crate::integer::{integer, maybe};
use crate::said::{ContentBody, MentionsBody, QuoteBody};

/// A command is in the log. Its result arrives on the author's sockets, or can be asked for as its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The command's id.
    pub id: CommandId,
    /// Its conversation.
    pub conversation: ConversationId,
}

/// What is known of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeState {
    /// The command was accepted, or its id was withdrawn: see `stands`.
    Settled,
    /// No command was accepted under this id so far. It may still reach the log: send only the same id and payload
    /// again, or withdraw it.
    Absent,
    /// A copy of it was refused: see `code`. That is final for this copy; another copy that is under way may still
    /// be accepted.
    Refused,
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeBody {
    /// The command's id.
    pub id: CommandId,
    /// The state of the command.
    pub outcome: OutcomeState,
    /// The seq of the event that was accepted; of a refused command, the seq of the latest copy that was refused.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "maybe")]
    pub seq: Option<Seq>,
    /// What was accepted under the id: `message`, `command` or `withdrawal`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stands: Option<crate::StandsName>,
    /// Why a refused command was refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<crate::ErrorCode>,
    /// The same reason as a sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

/// A user's reaction to a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReactionBody {
    /// The user who reacted.
    pub user: UserId,
    /// The emoji.
    pub emoji: String,
}

/// The thread under a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepliesBody {
    /// The count of its messages, deleted ones included.
    #[serde(deserialize_with = "integer")]
    pub messages: u64,
    /// The seq of the last one.
    #[serde(deserialize_with = "integer")]
    pub last: Seq,
    /// The log's time of the last one, milliseconds since the Unix epoch.
    #[serde(deserialize_with = "integer")]
    pub last_time: i64,
}

/// An entry of a conversation's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryBody {
    /// Its seq, which is also the key for paging.
    #[serde(deserialize_with = "integer")]
    pub seq: Seq,
    /// The id of its command, by which replies, edits and reactions refer to a message.
    pub id: CommandId,
    /// The user whose command made the entry.
    pub author: UserId,
    /// The log's time, milliseconds since the Unix epoch.
    #[serde(deserialize_with = "integer")]
    pub time: i64,
    /// `message`, `created`, `joined`, `left` or `title`.
    pub kind: String,
    /// The count of messages up to and including this entry.
    #[serde(deserialize_with = "integer")]
    pub ordinal: u64,
    /// The seq of the event that changed the entry last: of two versions, a client keeps the one with the higher
    /// `changed`.
    #[serde(deserialize_with = "integer")]
    pub changed: Seq,
    /// A message's text, or the new title. Empty for a deleted message.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "crate::text::optional")]
    pub body: Option<MessageText>,
    /// The id of the message that it replies to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<CommandId>,
    /// The part of that message that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quote: Option<QuoteBody>,
    /// Whom the message mentions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mentions: Option<MentionsBody>,
    /// The message's content of another kind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<ContentBody>,
    /// The root of the thread that the message is in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thread: Option<CommandId>,
    /// The count of the thread's messages up to and including it, deleted ones included.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "maybe")]
    pub thread_ordinal: Option<u64>,
    /// Whether a message of a thread is in the main view as well, and counts there.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub also_in_conversation: bool,
    /// The users who joined or left.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub users: Vec<UserId>,
    /// The log's time of the last edit, milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "maybe")]
    pub edited: Option<i64>,
    /// Whether the message was deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub deleted: bool,
    /// The user who deleted the message, if that is not its author.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deleted_by: Option<UserId>,
    /// The present reactions, by user and emoji.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reactions: Vec<ReactionBody>,
    /// The thread under the message, if there is one. It does not count as a change: of two versions, a client keeps the
    /// one with the higher `last`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replies: Option<RepliesBody>,
    /// Whether the entry was changed after the caller left. Then whatever may be newer than the leaving
    /// (reactions, and the text of a message that was ever edited or deleted) is left out, and `changed` is the
    /// entry's own seq. Where a message came into its thread after the caller left, only `replies` is left out.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub withheld: bool,
}

/// A page of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The seq of the conversation's last accepted event, read before the entries: a syncing client begins its
    /// filter with it.
    #[serde(deserialize_with = "integer")]
    pub head: Seq,
    /// The entries, oldest first whichever way the page goes.
    pub entries: Vec<EntryBody>,
    /// Whether there are more entries in the page's direction; continue with `before` or `after` the outermost
    /// `seq`.
    pub more: bool,
}

/// What a message said for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionBody {
    /// The seq of the message, or of the edit.
    #[serde(deserialize_with = "integer")]
    pub seq: Seq,
    /// The log's time of that, milliseconds since the Unix epoch.
    #[serde(deserialize_with = "integer")]
    pub time: i64,
    /// The text.
    #[serde(with = "crate::text")]
    pub body: MessageText,
    /// Whom it mentioned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mentions: Option<MentionsBody>,
    /// Content of another kind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<ContentBody>,
}

/// A page of the versions of a message, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionPage {
    /// The versions; of a deleted message there is none.
    pub versions: Vec<VersionBody>,
    /// Whether there are more; continue with `after` the last one's `seq`.
    pub more: bool,
}

/// A read mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkBody {
    /// The seq of the entry up to which the user has read.
    #[serde(deserialize_with = "integer")]
    pub seq: Seq,
    /// The count of messages up to it.
    #[serde(deserialize_with = "integer")]
    pub ordinal: u64,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberBody {
    /// The member's user id.
    pub user: UserId,
    /// `member`, `admin` or `owner`.
    pub role: String,
    /// The seq of the event that last made them a member.
    #[serde(deserialize_with = "integer")]
    pub joined: Seq,
    /// The seq of the event that changed their membership last: joining, or a change of role.
    #[serde(deserialize_with = "integer")]
    pub changed: Seq,
}

/// A page of members, ordered by user id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPage {
    /// The members.
    pub members: Vec<MemberBody>,
    /// Whether there are more; continue with `after` the last one.
    pub more: bool,
}

/// A conversation, as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationBody {
    /// Its id.
    pub id: ConversationId,
    /// `direct` or `group`.
    pub kind: String,
    /// The title; empty for none.
    pub title: String,
    /// The other member of a direct conversation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<UserId>,
    /// The caller's role; absent for a user who has left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<String>,
    /// The seq of its last accepted event.
    #[serde(deserialize_with = "integer")]
    pub head: Seq,
    /// The user who added the caller to this group, for as long as the caller has neither sent nor marked anything
    /// in it (an invitation that is not accepted yet).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invited_by: Option<UserId>,
    /// The log's time of that event, milliseconds since the Unix epoch: the list is sorted by it.
    #[serde(deserialize_with = "integer")]
    pub time: i64,
    /// The count of messages of others after the caller's read mark. Deleted ones are excluded, up to a bound.
    /// Sending a message marks what comes before it as read.
    #[serde(deserialize_with = "integer")]
    pub unread: u64,
    /// The count of messages of others after the caller's read mark that mention the caller or everybody, those in threads
    /// alone included; up to a bound. For a user who has left it is 0.
    #[serde(deserialize_with = "integer", default)]
    pub mentions: u64,
    /// The caller's read mark.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<MarkBody>,
    /// The last message, if the caller may read it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_message: Option<EntryBody>,
    /// Whether the conversation is held until the server is upgraded: all of this is as of the hold, and reading
    /// the timeline answers `held`.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub held: bool,
}

/// A page of the caller's conversations, the most recently active first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationPage {
    /// The conversations.
    pub conversations: Vec<ConversationBody>,
    /// The page cursor of the next page, to be sent as `page`; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Whether a conversation can be synced now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// Storage has passed the barrier: its rows can be read.
    Ready,
    /// Its storage partition has not caught up yet: ask again.
    Retry,
    /// It is held until the server is upgraded: leave it unsynced and ask again later.
    Held,
}

/// A conversation in a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncConversation {
    /// Its id.
    pub id: ConversationId,
    /// Whether it can be synced.
    pub state: SyncState,
    /// Whether the caller is a member now. For a user who has left, rows are read as of the leaving.
    pub member: bool,
    /// The seq of the event that changed the caller's membership last.
    #[serde(deserialize_with = "integer")]
    pub changed: Seq,
    /// The seq of the last accepted event of any kind, read before any rows: the client begins its filter with it.
    #[serde(deserialize_with = "integer")]
    pub head: Seq,
    /// The caller's read mark.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<MarkBody>,
}

/// A page of all conversations that the caller is or was in, with their heads, ordered by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncPage {
    /// The conversations, ordered by id.
    pub conversations: Vec<SyncConversation>,
    /// Whether the pages up to this one name all conversations; true on the last page at most. When it is false on
    /// the last page, a storage partition has not caught up, or holds a conversation that the user may have joined
    /// in the events not judged yet, so some conversations may be missing. Use those that are ready, and ask again
    /// from the first page on.
    pub complete: bool,
    /// The page cursor of the next page, to be sent as `after`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}
