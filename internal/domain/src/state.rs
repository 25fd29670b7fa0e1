//! The state that the reducer keeps per conversation: small and bounded.

use std::collections::BTreeMap;

use crate::{Change, CommandId, MessageText, PayloadHash, Seq, UserId};

/// Direct (two users, for ever) or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConversationKind {
    /// Between two users; nobody joins or leaves.
    Direct,
    /// Any number of members up to the bound.
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
    /// Talk, and leave.
    Member,
    /// Also add members, remove plain members, change the title.
    Admin,
    /// Everything; exactly one per group.
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
    /// The event that made the user a member (the latest joining).
    pub since: Seq,
    /// The event that changed the membership last: the joining, or a change of role.
    pub changed: Seq,
}

/// What a conversation is, apart from who is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Direct or group; never changes.
    pub kind: ConversationKind,
    /// Empty for none.
    pub title: String,
}

/// What stands in the timeline at one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A message.
    Message {
        /// Its text.
        body: MessageText,
        /// The message it answers.
        reply_to: Option<CommandId>,
    },
    /// The conversation begins.
    Created,
    /// These users joined (added by the entry's author).
    Joined(Vec<UserId>),
    /// This user left, or was removed by the entry's author.
    Left(UserId),
    /// The title changed.
    Title(String),
}

/// What an id's row says stands under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// A message, at this slot of the timeline.
    Message {
        /// The slot, which finds the timeline bucket.
        slot: u64,
    },
    /// Another accepted command.
    Command,
    /// A withdrawal: the command of this id will never be accepted.
    Withdrawal,
}

/// The first acceptance of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRow {
    /// Who the accepted command came from.
    pub author: UserId,
    /// Where it stands.
    pub seq: Seq,
    /// What it said, hashed.
    pub hash: PayloadHash,
    /// What kind of thing stands there.
    pub stands: Stands,
    /// The event that deleted the message, if one has.
    pub deleted: Option<Seq>,
}

/// A conversation as of a seq.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConversationState {
    /// `None` until the conversation was created.
    pub settings: Option<Settings>,
    /// The members, at most [`crate::limits::MEMBERS_MAX`].
    pub members: BTreeMap<UserId, Membership>,
    /// The number of timeline entries so far: the slot of the next one.
    pub slot: u64,
    /// The number of messages so far, deleted ones included.
    pub ordinal: u64,
}

impl ConversationState {
    /// The user's role; `None` for who is not a member.
    #[must_use]
    pub fn role(&self, user: UserId) -> Option<Role> {
        self.members.get(&user).map(|membership| membership.role)
    }

    /// Brings the state behind the changes of the event at `seq`.
    pub fn absorb(&mut self, seq: Seq, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Timeline { slot, ordinal, .. } => {
                    self.slot = one_more(*slot);
                    self.ordinal = *ordinal;
                }
                Change::Member { user, role: None } => drop(self.members.remove(user)),
                Change::Member { user, role: Some(role) } => {
                    let fresh = Membership { role: *role, since: seq, changed: seq };
                    let membership = self.members.entry(*user).or_insert(fresh);
                    (membership.role, membership.changed) = (*role, seq);
                }
                Change::Settings(settings) => self.settings = Some(settings.clone()),
                Change::Body { .. } | Change::Deleted { .. } | Change::Reaction { .. } | Change::Id { .. } => {}
            }
        }
    }
}

/// The next value of a counter.
///
/// # Panics
/// At the end of its range, in every build: a row or a bug has said what cannot be, and a conversation that counts from 0
/// again would be wrong for ever. The consumers hold one that panics.
#[must_use]
pub(crate) const fn one_more(count: u64) -> u64 {
    count.checked_add(1).expect("no conversation has 2^64 entries")
}
