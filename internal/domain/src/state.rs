//! The state that the reducer keeps per conversation: small and bounded.

use std::collections::BTreeMap;

use crate::{Change, CommandId, MessageBody, PayloadHash, Quote, Seq, UserId};

/// The kind of a conversation; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConversationKind {
    /// Between two users; nobody joins or leaves.
    Direct,
    /// Any number of members up to [`crate::limits::MEMBERS_MAX`].
    Group,
}

impl ConversationKind {
    /// The name on the wire and in rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Direct, Self::Group].into_iter().find(|kind| kind.name() == name)
    }
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May send messages, and leave.
    Member,
    /// May also add members, remove plain members and change the title.
    Admin,
    /// May do everything; a group with members has exactly one owner.
    Owner,
}

impl Role {
    /// The name on the wire and in rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Member, Self::Admin, Self::Owner].into_iter().find(|role| role.name() == name)
    }
}

/// One user's membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// What the member may do.
    pub role: Role,
    /// The event of the user's latest joining.
    pub since: Seq,
    /// The event that last changed the membership: the joining, or a change of role.
    pub changed: Seq,
}

/// The properties of a conversation, apart from its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Direct or group; never changes.
    pub kind: ConversationKind,
    /// The title; empty for none.
    pub title: String,
}

/// A pinned message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The message's id.
    pub id: CommandId,
    /// The message's seq.
    pub seq: Seq,
    /// The message's slot.
    pub slot: u64,
}

/// The content of one slot of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A message.
    Message {
        /// What it says.
        body: MessageBody,
        /// The message it answers.
        reply_to: Option<Reply>,
        /// Its place in a thread, if it is in one.
        thread: Option<ThreadPlace>,
    },
    /// The conversation was created.
    Created,
    /// These users joined (added by the entry's author).
    Joined(Vec<UserId>),
    /// This user left, or was removed by the entry's author.
    Left(UserId),
    /// The title changed.
    Title(String),
}

/// A message that another one answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The message.
    pub to: CommandId,
    /// The part of it that is answered. Since version 3 of the rules.
    pub quote: Option<Quote>,
}

/// An answer to a message as a whole.
impl From<CommandId> for Reply {
    fn from(to: CommandId) -> Self {
        Self { to, quote: None }
    }
}

/// The place of a message in a thread. Threads are flat: their messages have no threads of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPlace {
    /// The root, the message that the thread is about.
    pub root: CommandId,
    /// The number of messages of the thread up to and including this one, deleted ones included.
    pub ordinal: u64,
    /// Whether the message is in the conversation's main view as well, and counts there.
    pub also_in_conversation: bool,
}

/// What the row of a message's id has of the thread that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InThread {
    /// The root's seq.
    pub root_seq: Seq,
    /// The root's slot.
    pub root_slot: u64,
    /// As [`ThreadPlace::also_in_conversation`].
    pub also_in_conversation: bool,
}

impl Content {
    /// Whether it is a message of the main view: one that counts in the conversation's `ordinal`.
    #[must_use]
    pub fn is_main_message(&self) -> bool {
        match self {
            Self::Message { thread, .. } => thread.is_none_or(|thread| thread.also_in_conversation),
            Self::Created | Self::Joined(_) | Self::Left(_) | Self::Title(_) => false,
        }
    }
}

/// What an accepted id stands for, as its row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// A message, at this slot of the timeline.
    Message {
        /// The slot, which determines the timeline bucket.
        slot: u64,
    },
    /// An accepted command that is no message.
    Command,
    /// A withdrawal: the command of this id will never be accepted.
    Withdrawal,
}

/// The row of an accepted id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRow {
    /// The author of the accepted command.
    pub author: UserId,
    /// The seq of the accepted event.
    pub seq: Seq,
    /// The hash of its payload.
    pub hash: PayloadHash,
    /// What the id stands for.
    pub stands: Stands,
    /// The thread of a message that is in one.
    pub thread: Option<InThread>,
    /// The seq of the event that deleted the message, if one has.
    pub deleted: Option<Seq>,
}

/// The state of a conversation as of a seq.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConversationState {
    /// `None` until the conversation is created.
    pub settings: Option<Settings>,
    /// The members, at most [`crate::limits::MEMBERS_MAX`].
    pub members: BTreeMap<UserId, Membership>,
    /// The pinned messages, in the order in which they were pinned; at most [`crate::limits::PINS_MAX`].
    pub pins: Vec<Pin>,
    /// The number of timeline entries so far: the slot of the next one.
    pub slot: u64,
    /// The number of messages so far, deleted ones included, and those that are in a thread alone left out.
    pub ordinal: u64,
}

impl ConversationState {
    /// The user's role; `None` for a user who is not a member.
    #[must_use]
    pub fn role(&self, user: UserId) -> Option<Role> {
        self.members.get(&user).map(|membership| membership.role)
    }

    /// Applies the changes of the event at `seq` to the state.
    pub fn absorb(&mut self, seq: Seq, changes: &[Change]) {
        changes.iter().for_each(|change| change.apply_to(self, seq));
    }
}

/// The next value of a counter.
///
/// # Panics
/// At the end of the counter's range, in every build: only a corrupt row or a bug leads there, and a conversation
/// that counted from 0 again would stay wrong for ever. The consumers hold a conversation whose judgement panics.
#[must_use]
pub(crate) const fn one_more(count: u64) -> u64 {
    count.checked_add(1).expect("no conversation has 2^64 entries")
}
