//! What an accepted event changes.

use crate::{CommandId, Content, IdRow, MessageText, Role, Seq, Settings, UserId};

/// One change of what can be read back. The event's seq is its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new entry of the timeline, by the event's author at the event's seq.
    Timeline {
        /// Its slot, counted from 0.
        slot: u64,
        /// The number of messages up to and including it.
        ordinal: u64,
        /// What it holds.
        content: Content,
    },
    /// A message has another text.
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
    /// A message is gone.
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
        /// The reaction; empty for none.
        emoji: String,
    },
    /// A user's membership.
    Member {
        /// Who.
        user: UserId,
        /// The role from here on; `None` for who left.
        role: Option<Role>,
    },
    /// The conversation's settings.
    Settings(Settings),
    /// The id that is taken from here on.
    Id {
        /// The id.
        id: CommandId,
        /// What stands under it.
        row: IdRow,
    },
}

impl Change {
    /// Of a new timeline entry: its slot, and the number of messages up to and including it.
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

    /// The seq of the message that shows something else from here on, which is not for everybody: who has joined since
    /// it was said hears that it has changed and not how. A deletion is told to all, since it has nothing to tell.
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
