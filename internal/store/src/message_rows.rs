//! Rows about single messages: their reactions, and the threads under them.

use domain::{Seq, UserId};
use environment::seeded_bugs::{Bug, seeded};

use crate::rows::{MESSAGE_EMOJI, REACTION, REACTION_BY_EMOJI, THREAD, THREAD_MESSAGE, THREAD_MESSAGE_GONE, bucket_of};
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
