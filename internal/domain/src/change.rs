//! The changes that an accepted event makes, and what each does to the state, the id cache and the consumers' memory.

use crate::state::one_more;
use crate::{
    CommandId, Content, ConversationState, Extras, IdRow, InThread, Membership, MessageBody, Pin, Role, Seq, Settings,
    UserId,
};

/// One change to the stored state of a conversation. The event's seq is its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new entry of the timeline, by the event's author at the event's seq.
    Timeline {
        /// Its slot in the timeline, counted from 0.
        slot: u64,
        /// The number of messages of the main view up to and including the entry.
        ordinal: u64,
        /// The content of the entry.
        content: Content,
    },
    /// The new entry is the next message of a thread.
    Thread {
        /// The thread.
        of: InThread,
        /// The slot of the entry.
        slot: u64,
        /// The number of its messages up to and including this one.
        ordinal: u64,
    },
    /// A message was edited.
    Body {
        /// The message's id.
        id: CommandId,
        /// The message's own seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
        /// What it says from this event on.
        body: MessageBody,
        /// Whether what it said before is kept. Since version 3 of the rules.
        kept: bool,
        /// Whether it says more than a text, or did so before.
        whole: bool,
    },
    /// What a message has besides its text, or an edit that is kept. Since version 3 of the rules.
    Extras {
        /// The message's seq: the event's own if it sends the message.
        seq: Seq,
        /// The message's slot.
        slot: u64,
        /// The message's author, who is not mentioned whatever it says.
        author: UserId,
        /// What it has from this event on.
        now: Extras,
        /// The members who can read the message and are mentioned from this event on, in order.
        added: Vec<UserId>,
        /// The users who are mentioned no more, in order, whether they are members now or not.
        removed: Vec<UserId>,
        /// Whether it mentions every member from this event on, if that has changed.
        all: Option<bool>,
        /// The event's own seq, if it is an edit that is kept.
        edit: Option<Seq>,
    },
    /// A message was deleted.
    Deleted {
        /// The message's id.
        id: CommandId,
        /// The message's own seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
        /// The user who deleted it, if that is not its author. Since version 3 of the rules.
        by: Option<UserId>,
        /// The thread that it is in.
        thread: Option<InThread>,
        /// Whether it may have said more than a text at some time.
        whole: bool,
        /// Its edits that were kept.
        edits: Vec<Seq>,
    },
    /// A reaction of the author to a message.
    Reaction {
        /// The message's id.
        id: CommandId,
        /// The message's own seq.
        seq: Seq,
        /// The message's slot.
        slot: u64,
        /// The emoji.
        emoji: String,
        /// What becomes of it.
        change: ReactionChange,
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
    /// The pinned messages. Since version 3 of the rules.
    Pins(Vec<Pin>),
    /// The id of the accepted command, which is taken from this event on.
    Id {
        /// The id.
        id: CommandId,
        /// The row of the id.
        row: IdRow,
    },
}

/// What an event does to the author's reactions to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReactionChange {
    /// The emoji is the author's only reaction from now on; an empty one means that there is none. Before version 3
    /// of the rules, everybody had at most one reaction to a message.
    Only,
    /// The emoji is among the author's reactions. Since version 3.
    Added {
        /// Whether nobody ever reacted to the message with this emoji since version 3 of the rules.
        is_new: bool,
    },
    /// The emoji is not among the author's reactions. Since version 3.
    Removed,
}

impl Change {
    /// The slot and ordinal of a new timeline entry; `None` for other changes.
    pub(crate) fn entry(&self) -> Option<(u64, u64)> {
        match self {
            Self::Timeline { slot, ordinal, .. } => Some((*slot, *ordinal)),
            Self::Thread { .. }
            | Self::Body { .. }
            | Self::Extras { .. }
            | Self::Deleted { .. }
            | Self::Reaction { .. }
            | Self::Member { .. }
            | Self::Settings(_)
            | Self::Pins(_)
            | Self::Id { .. } => None,
        }
    }

    /// The thread that gets a message; `None` for other changes.
    pub(crate) fn thread(&self) -> Option<InThread> {
        match self {
            Self::Thread { of, .. } => Some(*of),
            Self::Timeline { .. }
            | Self::Body { .. }
            | Self::Extras { .. }
            | Self::Deleted { .. }
            | Self::Reaction { .. }
            | Self::Member { .. }
            | Self::Settings(_)
            | Self::Pins(_)
            | Self::Id { .. } => None,
        }
    }

    /// The user whose membership changes, with the role from this event on; `None` for other changes.
    #[must_use]
    pub fn membership(&self) -> Option<(UserId, Option<Role>)> {
        match self {
            Self::Member { user, role } => Some((*user, *role)),
            Self::Timeline { .. }
            | Self::Thread { .. }
            | Self::Body { .. }
            | Self::Extras { .. }
            | Self::Deleted { .. }
            | Self::Reaction { .. }
            | Self::Settings(_)
            | Self::Pins(_)
            | Self::Id { .. } => None,
        }
    }

    /// Whether members or settings change, so that they must be read anew.
    #[must_use]
    pub fn reshapes(&self) -> bool {
        match self {
            Self::Member { .. } | Self::Settings(_) => true,
            Self::Timeline { .. }
            | Self::Thread { .. }
            | Self::Body { .. }
            | Self::Extras { .. }
            | Self::Deleted { .. }
            | Self::Reaction { .. }
            | Self::Pins(_)
            | Self::Id { .. } => false,
        }
    }

    /// Applies the change to the state, for the event at `seq`.
    pub(crate) fn apply_to(&self, state: &mut ConversationState, seq: Seq) {
        match self {
            Self::Timeline { slot, ordinal, .. } => (state.slot, state.ordinal) = (one_more(*slot), *ordinal),
            Self::Member { user, role: None } => drop(state.members.remove(user)),
            Self::Member { user, role: Some(role) } => {
                let fresh = Membership { role: *role, since: seq, changed: seq };
                let membership = state.members.entry(*user).or_insert(fresh);
                (membership.role, membership.changed) = (*role, seq);
            }
            Self::Settings(settings) => state.settings = Some(settings.clone()),
            Self::Pins(pins) => state.pins.clone_from(pins),
            Self::Thread { .. }
            | Self::Body { .. }
            | Self::Extras { .. }
            | Self::Deleted { .. }
            | Self::Reaction { .. }
            | Self::Id { .. } => {}
        }
    }

    /// The id whose row the event at `seq` changes, with the new row; `None` for other changes. `known` returns the
    /// row that an id has so far.
    pub(crate) fn id_row(
        &self,
        seq: Seq,
        known: impl FnOnce(CommandId) -> Option<IdRow>,
    ) -> Option<(CommandId, IdRow)> {
        match self {
            Self::Id { id, row } => Some((*id, *row)),
            Self::Deleted { id, .. } => known(*id).map(|row| (*id, IdRow { deleted: Some(seq), ..row })),
            Self::Timeline { .. }
            | Self::Thread { .. }
            | Self::Body { .. }
            | Self::Extras { .. }
            | Self::Reaction { .. }
            | Self::Member { .. }
            | Self::Settings(_)
            | Self::Pins(_) => None,
        }
    }

    /// The seq of the message whose text or reactions change. Members who joined after that message may not read
    /// it, so they are notified of the change without its content. A deletion is sent to all members in full: it
    /// has no content.
    pub(crate) fn rewrites(&self) -> Option<Seq> {
        match self {
            Self::Body { seq, .. } | Self::Reaction { seq, .. } => Some(*seq),
            Self::Timeline { .. }
            | Self::Thread { .. }
            | Self::Extras { .. }
            | Self::Deleted { .. }
            | Self::Member { .. }
            | Self::Settings(_)
            | Self::Pins(_)
            | Self::Id { .. } => None,
        }
    }
}
