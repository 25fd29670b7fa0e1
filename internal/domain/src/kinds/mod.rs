//! Every kind of event, one file each: its fields, what it is about, the check of its input, its judgement, the input of
//! its payload hash, and samples.
//!
//! A kind is added here: its file, and its lines in the list below. What else has to know it does not compile without it
//! or fails a test that names it; `internal/README.md` has the table.

mod add_members;
mod add_reaction;
mod change_role;
mod change_title;
mod context;
mod create;
mod delete_message;
mod edit_message;
mod hash;
mod input;
mod leave;
mod remove_member;
mod remove_reaction;
mod sample;
mod send_message;
mod withdraw;

use std::fmt;

use crate::{Change, CommandId, Refusal, Stands, UserId};

pub use add_members::AddMembers;
pub use add_reaction::AddReaction;
pub use change_role::ChangeRole;
pub use change_title::ChangeTitle;
pub(crate) use context::Context;
pub use create::Create;
pub use delete_message::DeleteMessage;
pub use edit_message::EditMessage;
use hash::HashInput;
pub use hash::PayloadHash;
pub use leave::Leave;
pub use remove_member::RemoveMember;
pub use remove_reaction::RemoveReaction;
pub use send_message::SendMessage;
pub use withdraw::Withdraw;

/// What the file of a kind needs.
mod prelude {
    pub(super) use super::hash::HashInput;
    pub(super) use super::{About, Audience, Context, EventKind, Kind, Target, input, sample};
    pub(super) use crate::{Change, CommandId, Content, MessageText, Refusal, Role, Stands, UserId};
}

/// The kinds. No two share a name, and none is ever taken out: the log has its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // each is described in its file
pub enum Kind {
    Create,
    AddMembers,
    RemoveMember,
    Leave,
    ChangeRole,
    ChangeTitle,
    SendMessage,
    EditMessage,
    DeleteMessage,
    AddReaction,
    RemoveReaction,
    Withdraw,
}

/// What a command asks for: one of the kinds, with its fields. Messages are addressed by the id of the command that sent
/// them.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)] // each is described in its file
pub enum Action {
    Create(Create),
    AddMembers(AddMembers),
    RemoveMember(RemoveMember),
    Leave(Leave),
    ChangeRole(ChangeRole),
    ChangeTitle(ChangeTitle),
    SendMessage(SendMessage),
    EditMessage(EditMessage),
    DeleteMessage(DeleteMessage),
    AddReaction(AddReaction),
    RemoveReaction(RemoveReaction),
    Withdraw(Withdraw),
}

impl Kind {
    /// Every kind; new ones come last. A test holds the list to the files of this folder.
    pub const ALL: [Self; 12] = [
        Self::Create,
        Self::AddMembers,
        Self::RemoveMember,
        Self::Leave,
        Self::ChangeRole,
        Self::ChangeTitle,
        Self::SendMessage,
        Self::EditMessage,
        Self::DeleteMessage,
        Self::AddReaction,
        Self::RemoveReaction,
        Self::Withdraw,
    ];

    /// The stable name, which the payload hash begins with; the kind's file is named for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::AddMembers => "add_members",
            Self::RemoveMember => "remove_member",
            Self::Leave => "leave",
            Self::ChangeRole => "change_role",
            Self::ChangeTitle => "change_title",
            Self::SendMessage => "send_message",
            Self::EditMessage => "edit_message",
            Self::DeleteMessage => "delete_message",
            Self::AddReaction => "add_reaction",
            Self::RemoveReaction => "remove_reaction",
            Self::Withdraw => "withdraw",
        }
    }

    /// A few actions of the kind, the same every time: for tests of everything that has to know all kinds.
    #[must_use]
    pub fn samples(self) -> Vec<Action> {
        fn all<K: EventKind>(action: fn(K) -> Action) -> Vec<Action> {
            K::samples().into_iter().map(action).collect()
        }
        match self {
            Self::Create => all(Action::Create),
            Self::AddMembers => all(Action::AddMembers),
            Self::RemoveMember => all(Action::RemoveMember),
            Self::Leave => all(Action::Leave),
            Self::ChangeRole => all(Action::ChangeRole),
            Self::ChangeTitle => all(Action::ChangeTitle),
            Self::SendMessage => all(Action::SendMessage),
            Self::EditMessage => all(Action::EditMessage),
            Self::DeleteMessage => all(Action::DeleteMessage),
            Self::AddReaction => all(Action::AddReaction),
            Self::RemoveReaction => all(Action::RemoveReaction),
            Self::Withdraw => all(Action::Withdraw),
        }
    }
}

impl Action {
    /// Samples of every kind, in the order of [`Kind::ALL`].
    #[must_use]
    pub fn samples() -> Vec<Self> {
        Kind::ALL.into_iter().flat_map(Kind::samples).collect()
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.fields().kind()
    }

    /// What it is about.
    #[must_use]
    pub fn about(&self) -> About<'_> {
        self.fields().about()
    }

    /// The message that it changes.
    #[must_use]
    pub fn target(&self) -> Option<CommandId> {
        match self.about().target {
            Target::None => None,
            Target::Own(id) | Target::Readable(id) => Some(id),
        }
    }

    /// The message that its author has to be able to read.
    #[must_use]
    pub fn target_to_read(&self) -> Option<CommandId> {
        match self.about().target {
            Target::None | Target::Own(_) => None,
            Target::Readable(id) => Some(id),
        }
    }

    /// Whether users become members by it: those whom it names, and the author of a conversation that it opens.
    #[must_use]
    pub fn takes_in(&self) -> bool {
        self.kind() == Kind::Create || !self.about().taken_in.is_empty()
    }

    /// Refuses what the reducer is sure to refuse as [`Refusal::Invalid`], whatever the conversation is like.
    ///
    /// # Errors
    /// A sentence for the client: what was wrong, and what was expected.
    pub fn check(&self, author: UserId) -> Result<(), String> {
        self.fields().check(author)
    }

    /// A digest of what the client said, to tell a retry from another command under the same id.
    #[must_use]
    pub fn payload_hash(&self) -> PayloadHash {
        let mut input = HashInput::of(self.kind());
        self.fields().hash(&mut input);
        input.finish()
    }

    /// What it changes, without its id row, or why it may not.
    pub(crate) fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        self.fields().judge(at)
    }

    /// What stands under its id once it is accepted, with a timeline entry at `slot` if it has one.
    pub(crate) fn stands(&self, slot: u64) -> Stands {
        self.fields().stands(slot)
    }

    fn fields(&self) -> &dyn EventKind {
        match self {
            Self::Create(fields) => fields,
            Self::AddMembers(fields) => fields,
            Self::RemoveMember(fields) => fields,
            Self::Leave(fields) => fields,
            Self::ChangeRole(fields) => fields,
            Self::ChangeTitle(fields) => fields,
            Self::SendMessage(fields) => fields,
            Self::EditMessage(fields) => fields,
            Self::DeleteMessage(fields) => fields,
            Self::AddReaction(fields) => fields,
            Self::RemoveReaction(fields) => fields,
            Self::Withdraw(fields) => fields,
        }
    }
}

/// As the kind itself: its name and its fields.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields().fmt(f)
    }
}

/// What services and the reducer ask about an action, whatever its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// The message that it changes.
    pub target: Target,
    /// Who hears of it once it is accepted.
    pub audience: Audience,
    /// The users whom it takes into the conversation, as they were named: each must have an account.
    pub taken_in: &'a [UserId],
    /// Bytes of its text, which its author is charged for.
    pub text_bytes: usize,
}

/// The message that an action changes, and what it has to be to the author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It changes none.
    None,
    /// One of the author's own.
    Own(CommandId),
    /// One that the author may read.
    Readable(CommandId),
}

/// Who hears of an accepted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who was or becomes a member.
    Members,
    /// Its author alone: nothing happens in the conversation, and since version 2 of the rules its head stays where it is.
    Author,
}

/// What the file of a kind says. No method has a default, so that a new kind answers every question.
trait EventKind: fmt::Debug {
    fn kind(&self) -> Kind;

    fn about(&self) -> About<'_>;

    /// The check of its input: see [`Action::check`].
    fn check(&self, author: UserId) -> Result<(), String>;

    /// The judgement: by the state before the event and nothing else. What is for members only begins with
    /// [`Context::member`]; a test names the kinds that do not.
    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal>;

    /// What stands under its id once it is accepted, where its timeline entry is at `slot`.
    fn stands(&self, slot: u64) -> Stands;

    /// Its fields as input of the payload hash, which is stored with every id row: it never changes.
    fn hash(&self, input: &mut HashInput);

    /// A few of the kind, that differ in what is optional.
    fn samples() -> Vec<Self>
    where
        Self: Sized;
}

#[cfg(test)]
mod tests;
