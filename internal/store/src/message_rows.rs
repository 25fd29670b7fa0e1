//! Rows about single messages: their reactions, the threads under them, what they have besides their text, and
//! whom they mention.

use domain::{Extras, Mentions, MessageBody, Seq, UserId};
use environment::seeded_bugs::{Bug, seeded};

use crate::content_cells::BodyCells;
use crate::rows::{
    EXTRAS, KEPT_EDIT, MENTION, MENTION_OF_ALL, MESSAGE_EMOJI, REACTION, REACTION_BY_EMOJI, THREAD, THREAD_MESSAGE,
    THREAD_MESSAGE_GONE, VERSION, VERSION_GONE, bucket_of,
};
use crate::{CellWrites, ValueRef};

/// A row of reactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReactionRow {
    /// A user's only reaction, before version 3 of the rules: `reactions ((conversation, bucket), message seq, user)`.
    Only {
        /// The message's seq.
        message: Seq,
        /// The message's slot.
        slot: u64,
        /// The user who reacted.
        user: UserId,
        /// The emoji; empty when the reaction was removed.
        emoji: String,
        /// The seq of the event.
        changed: Seq,
    },
    /// One of a user's reactions: `reactions_by_emoji ((conversation, bucket), message seq, user, emoji)`.
    ByEmoji {
        /// The message's seq.
        message: Seq,
        /// The message's slot.
        slot: u64,
        /// The user who reacted.
        user: UserId,
        /// The emoji.
        emoji: String,
        /// Whether the user reacts with it from this event on.
        stands: bool,
        /// The seq of the event.
        changed: Seq,
    },
    /// An emoji that is new to a message: `message_emojis ((conversation, bucket), message seq, emoji)`.
    NewEmoji {
        /// The message's seq.
        message: Seq,
        /// The message's slot.
        slot: u64,
        /// The emoji.
        emoji: String,
        /// The seq of the event that brought it.
        first: Seq,
    },
}

/// A row of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadRow {
    /// A message of the thread: `thread_messages ((conversation, root seq), seq)`, cells `place`, `ordinal`.
    Message {
        /// The root's seq.
        root: Seq,
        /// The message's seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
        /// The number of the thread's messages up to and including it.
        ordinal: u64,
    },
    /// The deletion of a message of the thread: cell `deleted` of the same row.
    Gone {
        /// The root's seq.
        root: Seq,
        /// The message's seq.
        seq: Seq,
        /// The seq of the deletion.
        deleted: Seq,
    },
    /// The last message of the thread: `threads ((conversation, bucket), root seq)`.
    Last {
        /// The root's seq.
        root: Seq,
        /// The root's slot.
        root_slot: u64,
        /// The number of the thread's messages.
        ordinal: u64,
        /// The log's time of the last one.
        time_ms: i64,
        /// The seq of the last one.
        seq: Seq,
    },
}

/// A row about what a message has besides its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtrasRow {
    /// What it has besides its text: `message_extras ((conversation, bucket), message seq, changed)`.
    Extras {
        /// The message's seq.
        message: Seq,
        /// The message's slot.
        slot: u64,
        /// The seq of the event.
        changed: Seq,
        /// What it has from this event on.
        extras: Extras,
        /// Whether the event is an edit that is kept.
        edit: bool,
    },
    /// What a message says since an edit; what it said before is kept. Cells `edited_body`, `edited_mentions`,
    /// `edited_custom_kind`, `edited_custom_data`, `edited_by`, `changed`, `edited` of its timeline row.
    KeptEdit {
        /// The message's seq.
        message: Seq,
        /// The message's slot.
        slot: u64,
        /// The seq of the edit.
        changed: Seq,
        /// The log's time of the edit.
        time_ms: i64,
        /// What it says.
        body: MessageBody,
    },
    /// The same in a row of its own: `message_versions ((conversation, message seq), changed)`.
    Version {
        /// The message's seq.
        message: Seq,
        /// The seq of the edit.
        changed: Seq,
        /// The log's time of the edit.
        time_ms: i64,
        /// What it says.
        body: MessageBody,
    },
    /// The end of such a version, with the deletion of the message: its cells but `time`, which are empty then.
    VersionGone {
        /// The message's seq.
        message: Seq,
        /// The seq of the edit.
        changed: Seq,
    },
    /// A user mentioned by name: `mentions ((user, conversation), message seq)`.
    User {
        /// The user.
        user: UserId,
        /// The message's seq.
        message: Seq,
        /// The message's slot.
        slot: u64,
        /// Whether it mentions the user from this event on.
        stands: bool,
    },
    /// Every member: `mentions_of_all ((conversation, bucket), message seq)`.
    All {
        /// The message's seq.
        message: Seq,
        /// The message's slot.
        slot: u64,
        /// The message's author, who is not meant.
        author: UserId,
        /// Whether it mentions every member from this event on.
        stands: bool,
    },
}

impl ExtrasRow {
    pub(crate) fn write(self, of: ValueRef<'_>, at: i64) -> CellWrites {
        match self {
            Self::Extras { message, slot, changed, extras: Extras { mentions, custom }, edit } => {
                let key = [of, bucket_of(slot).into(), message.into(), changed.into()];
                let mentions = mention_bytes(&mentions);
                let cells = [("mentions", (&*mentions).into()), ("custom", custom.into()), ("edit", edit.into())];
                EXTRAS.write(at, &key, &cells)
            }
            Self::KeptEdit { message, slot, changed, time_ms, body } => {
                let body = BodyCells::of(body, true);
                let by = [("edited_by", changed.into()), ("changed", changed.into()), ("edited", time_ms.into())];
                let cells: Vec<_> = body.edited_cells().into_iter().chain(by).collect();
                KEPT_EDIT.write(at, &[of, bucket_of(slot).into(), message.into()], &cells)
            }
            Self::Version { message, changed, time_ms, body } => {
                let body = BodyCells::of_new(body);
                let cells: Vec<_> = [("time", time_ms.into())].into_iter().chain(body.cells()).collect();
                VERSION.write(at, &[of, message.into(), changed.into()], &cells)
            }
            Self::VersionGone { message, changed } => {
                let nothing = BodyCells::of(MessageBody::default(), true);
                VERSION_GONE.write(at, &[of, message.into(), changed.into()], &nothing.cells())
            }
            Self::User { user, message, slot, stands } => {
                let cells = [("place", slot.into()), ("stands", stands.into())];
                MENTION.write(at, &[user.into(), of, message.into()], &cells)
            }
            Self::All { message, slot, author, stands } => {
                let cells = [("place", slot.into()), ("stands", stands.into()), ("author", author.into())];
                MENTION_OF_ALL.write(at, &[of, bucket_of(slot).into(), message.into()], &cells)
            }
        }
    }
}

/// Mentions of nobody in a cell.
pub(crate) const NOBODY: &[u8] = &[0];

/// Mentions in a cell: a byte that is 1 if every member is mentioned and 0 if not, and the ids of users, sorted.
pub(crate) fn mention_bytes(mentions: &Mentions) -> Vec<u8> {
    let users = mentions.users().iter().flat_map(|user| *user.as_bytes());
    std::iter::once(u8::from(mentions.all)).chain(users).collect()
}

impl ReactionRow {
    pub(crate) fn write(self, of: ValueRef<'_>, at: i64) -> CellWrites {
        match self {
            Self::Only { message, slot, user, emoji, changed } => {
                let key = [of, bucket_of(slot).into(), message.into(), user.into()];
                REACTION.write(at, &key, &[("emoji", emoji.as_str().into()), ("changed", changed.into())])
            }
            Self::ByEmoji { message, slot, user, emoji, stands, changed } => {
                let emoji = if seeded(Bug::ReactionKeyWithoutEmoji) { "any".to_owned() } else { emoji };
                let key = [of, bucket_of(slot).into(), message.into(), user.into(), emoji.as_str().into()];
                REACTION_BY_EMOJI.write(at, &key, &[("stands", stands.into()), ("changed", changed.into())])
            }
            Self::NewEmoji { message, slot, emoji, first } => {
                let key = [of, bucket_of(slot).into(), message.into(), emoji.as_str().into()];
                MESSAGE_EMOJI.write(at, &key, &[("first", first.into())])
            }
        }
    }
}

impl ThreadRow {
    pub(crate) fn write(self, of: ValueRef<'_>, at: i64) -> CellWrites {
        match self {
            Self::Message { root, seq, slot, ordinal } => THREAD_MESSAGE.write(
                at,
                &[of, root.into(), seq.into()],
                &[("place", slot.into()), ("ordinal", ordinal.into())],
            ),
            Self::Gone { root, seq, deleted } => {
                THREAD_MESSAGE_GONE.write(at, &[of, root.into(), seq.into()], &[("deleted", deleted.into())])
            }
            Self::Last { root, root_slot, ordinal, time_ms, seq } => {
                let (place, time) = (("place", root_slot.into()), ("time", time_ms.into()));
                let cells = [place, ("ordinal", ordinal.into()), time, ("last", seq.into())];
                THREAD.write(at, &[of, bucket_of(root_slot).into(), root.into()], &cells)
            }
        }
    }
}
