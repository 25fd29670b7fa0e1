//! The bodies of HTTP answers.

use domain::{CommandId, ConversationId, MessageText, Seq, UserId};
use serde::{Deserialize, Serialize};

use crate::integer::{integer, maybe};

/// A command is in the log; what it means arrives on the author's sockets, or through its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The command.
    pub id: CommandId,
    /// Its conversation.
    pub conversation: ConversationId,
}

/// What stands under a command's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeState {
    /// The command was accepted, or its id withdrawn: see `stands`.
    Settled,
    /// It does not stand as of now. It may still land: send only the same id and payload again, or withdraw it.
    Absent,
    /// A copy of it was refused: see `code`. That is final for this copy; another that is on its way may still land.
    Refused,
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeBody {
    /// The command.
    pub id: CommandId,
    /// Whether something stands under it.
    pub outcome: OutcomeState,
    /// Where it stands; of a refused one, the seq of the latest copy that was refused.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "maybe")]
    pub seq: Option<Seq>,
    /// `message`, `command` or `withdrawal`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stands: Option<crate::StandsName>,
    /// Of a refused one: why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<crate::ErrorCode>,
    /// The same as a sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

/// A user's reaction to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionBody {
    /// Who.
    pub user: UserId,
    /// The emoji.
    pub emoji: String,
}

/// An entry of a conversation's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryBody {
    /// Its seq in the log: the page key.
    #[serde(deserialize_with = "integer")]
    pub seq: Seq,
    /// The id of the command: how a message is addressed.
    pub id: CommandId,
    /// Who.
    pub author: UserId,
    /// The log's time, milliseconds since the Unix epoch.
    #[serde(deserialize_with = "integer")]
    pub time: i64,
    /// `message`, `created`, `joined`, `left` or `title`.
    pub kind: String,
    /// Messages up to and including this entry.
    #[serde(deserialize_with = "integer")]
    pub ordinal: u64,
    /// The event that changed the entry last: a client keeps the version with the higher one.
    #[serde(deserialize_with = "integer")]
    pub changed: Seq,
    /// A message's text, or the new title. Empty for a deleted message.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "crate::text::optional")]
    pub body: Option<MessageText>,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<CommandId>,
    /// Who joined or left.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub users: Vec<UserId>,
    /// The log's time of the last edit, milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "maybe")]
    pub edited: Option<i64>,
    /// Whether the message is gone.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub deleted: bool,
    /// Reactions that stand.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reactions: Vec<ReactionBody>,
    /// Changed after the caller left: what is not known to be as of the leaving (reactions, and the text of a message
    /// that was ever edited or deleted) is left out, and `changed` is the entry's own seq.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub withheld: bool,
}

/// A page of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The conversation's last accepted event, read before the entries: a syncing client's filter starts here.
    #[serde(deserialize_with = "integer")]
    pub head: Seq,
    /// The entries, oldest first whichever way the page goes.
    pub entries: Vec<EntryBody>,
    /// Whether there is more in the direction of the page; go on with `before`/`after` the outermost `seq`.
    pub more: bool,
}

/// A read mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkBody {
    /// Read up to this entry.
    #[serde(deserialize_with = "integer")]
    pub seq: Seq,
    /// Messages up to it.
    #[serde(deserialize_with = "integer")]
    pub ordinal: u64,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberBody {
    /// Who.
    pub user: UserId,
    /// `member`, `admin` or `owner`.
    pub role: String,
    /// The event that made them a member, the latest time.
    #[serde(deserialize_with = "integer")]
    pub joined: Seq,
    /// The event that changed their membership last: the joining, or a change of role.
    #[serde(deserialize_with = "integer")]
    pub changed: Seq,
}

/// A page of members, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPage {
    /// The members.
    pub members: Vec<MemberBody>,
    /// Whether there are more; go on with `after` the last one.
    pub more: bool,
}

/// A conversation, for its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationBody {
    /// Its id.
    pub id: ConversationId,
    /// `direct` or `group`.
    pub kind: String,
    /// Empty for none.
    pub title: String,
    /// The other member of a direct conversation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<UserId>,
    /// The caller's role; absent for who left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<String>,
    /// Its last accepted event.
    #[serde(deserialize_with = "integer")]
    pub head: Seq,
    /// Who has taken the caller into this group, as long as the caller has neither said nor marked anything in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invited_by: Option<UserId>,
    /// The log's time of that event, milliseconds since the Unix epoch: the list is sorted by it.
    #[serde(deserialize_with = "integer")]
    pub time: i64,
    /// Messages of others that stand beyond the caller's read mark; who answers has read what is before the answer.
    #[serde(deserialize_with = "integer")]
    pub unread: u64,
    /// The caller's read mark.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<MarkBody>,
    /// The last message, if the caller may read it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_message: Option<EntryBody>,
    /// It waits for an upgrade of the server: all of this is as of before, and reading it is answered `held`.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub held: bool,
}

/// A page of the caller's conversations, the most recently active first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationPage {
    /// The conversations.
    pub conversations: Vec<ConversationBody>,
    /// Send it back as `page` to go on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Whether a conversation can be synced now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// Its rows are behind the watermark: read them.
    Ready,
    /// Its storage partition has not caught up: ask again.
    Retry,
    /// It waits for an upgrade: leave it unsynced and ask again later.
    Held,
}

/// One conversation of a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncConversation {
    /// Its id.
    pub id: ConversationId,
    /// Whether it can be synced.
    pub state: SyncState,
    /// Whether the caller is a member now; of who left, rows read as of the leaving.
    pub member: bool,
    /// The event that changed the caller's membership last.
    #[serde(deserialize_with = "integer")]
    pub changed: Seq,
    /// The last accepted event of any kind, read before any rows: the client's filter starts here.
    #[serde(deserialize_with = "integer")]
    pub head: Seq,
    /// The caller's read mark.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<MarkBody>,
}

/// A page of every conversation that the caller is or was in, with its head, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncPage {
    /// By conversation id.
    pub conversations: Vec<SyncConversation>,
    /// Whether the pages up to here name all: true on the last one at most. Its false means that a storage partition has
    /// not caught up, or holds a conversation that the user may have come into among what was skipped: there may be some
    /// that are not named. Use those that are ready, and ask again from the first page on.
    pub complete: bool,
    /// Send it back as `after` to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}
