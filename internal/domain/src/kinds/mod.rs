//! Every kind of event has a file of its own: its fields, its subject ([`About`]), the check of its input, its
//! judgement, the input of its payload hash, and samples.
//!
//! To add a kind, add its file and its lines in the list below. All other code that must know the kind then fails
//! to compile, or fails a test that names the kind; `internal/README.md` has the table.

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
mod pin_message;
mod remove_member;
mod remove_reaction;
mod sample;
mod send_message;
mod unpin_message;
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
pub use pin_message::PinMessage;
pub use remove_member::RemoveMember;
pub use remove_reaction::RemoveReaction;
pub use send_message::{IntoThread, SendMessage};
pub use unpin_message::UnpinMessage;
pub use withdraw::Withdraw;

/// The imports of every kind's file.
mod prelude {
    pub(super) use super::hash::HashInput;
    pub(super) use super::{About, Audience, Context, EventKind, Kind, Target, input, sample};
    pub(super) use crate::{Change, CommandId, Content, MessageBody, ReactionChange, Refusal, Role, Stands, UserId};
}

/// The kinds. Names are unique, and no kind is ever removed: the log keeps its events.
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
    PinMessage,
    UnpinMessage,
}

/// What a command asks for: one of the kinds, with its fields. A message is identified by the id of the command
/// that sent it.
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
    PinMessage(PinMessage),
    UnpinMessage(UnpinMessage),
}

impl Kind {
    /// Every kind; append new ones. A test compares the list with the files of this folder.
    pub const ALL: [Self; 14] = [
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
        Self::PinMessage,
        Self::UnpinMessage,
    ];

    /// The stable name: the payload hash begins with it, and the kind's file has that name.
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
            Self::PinMessage => "pin_message",
            Self::UnpinMessage => "unpin_message",
        }
    }

    /// A few actions of the kind, the same at every call, for tests of all code that must know every kind.
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
            Self::PinMessage => all(Action::PinMessage),
            Self::UnpinMessage => all(Action::UnpinMessage),
        }
    }
}

impl Action {
    /// Samples of every kind, in the order of [`Kind::ALL`].
    #[must_use]
    pub fn samples() -> Vec<Self> {
        Kind::ALL.into_iter().flat_map(Kind::samples).collect()
    }

    /// The kind of the action.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.fields().kind()
    }

    /// The action's subject: its target, audience, new members, title and text.
    #[must_use]
    pub fn about(&self) -> About<'_> {
        self.fields().about()
    }

    /// The id of the message that the action changes.
    #[must_use]
    pub fn target(&self) -> Option<CommandId> {
        match self.about().target {
            Target::None => None,
            Target::Own(id) | Target::Readable(id) => Some(id),
        }
    }

    /// The message that the author must be able to read.
    #[must_use]
    pub fn target_to_read(&self) -> Option<CommandId> {
        match self.about().target {
            Target::None | Target::Own(_) => None,
            Target::Readable(id) => Some(id),
        }
    }

    /// Whether users become members by the action: the users that it names, or the author of a conversation that
    /// it opens.
    #[must_use]
    pub fn takes_in(&self) -> bool {
        self.kind() == Kind::Create || !self.about().taken_in.is_empty()
    }

    /// Checks the input: refuses whatever the reducer would refuse as [`Refusal::Invalid`] in any state of the
    /// conversation.
    ///
    /// # Errors
    /// A sentence for the client that says what was wrong and what was expected.
    pub fn check(&self, author: UserId) -> Result<(), String> {
        self.fields().check(author)
    }

    /// A digest of the fields; it distinguishes a retry from another command with the same id.
    #[must_use]
    pub fn payload_hash(&self) -> PayloadHash {
        let mut input = HashInput::of(self.kind());
        self.fields().hash(&mut input);
        input.finish()
    }

    /// The changes that the action makes, without its id row, or the reason why it is refused.
    pub(crate) fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        self.fields().judge(at)
    }

    /// The content of the id's row once the action is accepted; `slot` is that of its timeline entry, if it has
    /// one.
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
            Self::PinMessage(fields) => fields,
            Self::UnpinMessage(fields) => fields,
        }
    }
}

/// Prints the kind itself, with its name and fields.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields().fmt(f)
    }
}

/// The properties of an action that services and the reducer need, whatever its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// The message that it changes.
    pub target: Target,
    /// The users who receive the event once it is accepted.
    pub audience: Audience,
    /// The users who become members by the action, as the command named them: each must have an account.
    pub taken_in: &'a [UserId],
    /// The new title, if it sets one: services refuse some characters in it that events may have.
    pub title: Option<&'a str>,
    /// Bytes of its text, which count towards the author's quota.
    pub text_bytes: usize,
}

/// The message that an action changes, with the condition on its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The action changes no message.
    None,
    /// The message must be one of the author's own.
    Own(CommandId),
    /// The author must be able to read the message.
    Readable(CommandId),
}

/// The users who receive an accepted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who was a member before the event, or becomes one by it.
    Members,
    /// The event's author alone. Nothing changes in the conversation and, since version 2 of the rules, its head
    /// does not move.
    Author,
}

/// The trait of every kind. No method has a default, so a new kind has to define each.
trait EventKind: fmt::Debug {
    fn kind(&self) -> Kind;

    fn about(&self) -> About<'_>;

    /// The check of its input: see [`Action::check`].
    fn check(&self, author: UserId) -> Result<(), String>;

    /// The judgement; it depends on nothing but `at`. Kinds for members only call [`Context::member`] first; a
    /// test lists those that do not.
    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal>;

    /// The content of the id's row once the event is accepted; `slot` is that of its timeline entry.
    fn stands(&self, slot: u64) -> Stands;

    /// The fields as input of the payload hash. The hash is stored with every id row, so this never changes.
    fn hash(&self, input: &mut HashInput);

    /// A few values of the kind, with and without the optional fields.
    fn samples() -> Vec<Self>
    where
        Self: Sized;
}

#[cfg(test)]
mod tests;
