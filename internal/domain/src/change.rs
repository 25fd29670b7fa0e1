//! The changes that an accepted event makes.

use crate::{CommandId, Content, IdRow, MessageText, Role, Seq, Settings, UserId};

/// One change to the stored state of a conversation. The event's seq is its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new entry of the timeline, by the event's author at the event's seq.
    Timeline {
        /// Its slot in the timeline, counted from 0.
        slot: u64,
        /// The number of messages up to and including the entry.
        ordinal: u64,
        /// The content of the entry.
        content: Content,
    },
    /// The text of a message was edited.
    Body {
        /// The message's id.
        id: CommandId,
        /// The message's own seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
        /// The new text.
        body: MessageText,
    },
    /// A message was deleted.
    Deleted {
        /// The message's id.
        id: CommandId,
        /// The message's own seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
    },
    /// The author's reaction to a message.
    Reaction {
        /// The message's id.
        id: CommandId,
        /// The message's own seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
        /// The emoji; empty when the reaction was removed.
        emoji: String,
    },
    /// A user's membership.
    Member {
        /// The user.
        user: UserId,
        /// The role from this event on; `None` when the user left or was removed.
        role: Option<Role>,
    },
    /// The conversation's settings.
    Settings(Settings),
    /// The id of the accepted command, which is taken from this event on.
    Id {
        /// The id.
        id: CommandId,
        /// The row of the id.
        row: IdRow,
    },
}

impl Change {
    /// The slot and ordinal of a new timeline entry; `None` for other changes.
    pub(crate) fn entry(&self) -> Option<(u64, u64)> {
        match self {
            Self::Timeline { slot, ordinal, .. } => Some((*slot, *ordinal)),
            Self::Body { .. }
            | Self::Deleted { .. }
            | Self::Reaction { .. }
            | Self::Member { .. }
            | Self::Settings(_)
            | Self::Id { .. } => None,
        }
    }

    /// The seq of the message whose text or reactions change. Members who joined after that message may not read
    /// it, so they are notified of the change without its content. A deletion is sent to all members in full: it
    /// has no content.
    pub(crate) fn rewrites(&self) -> Option<Seq> {
        match self {
            Self::Body { seq, .. } | Self::Reaction { seq, .. } => Some(*seq),
            Self::Timeline { .. }
            | Self::Deleted { .. }
            | Self::Member { .. }
            | Self::Settings(_)
            | Self::Id { .. } => None,
        }
    }
}
