//! The kinds of accepted events in feed frames.

use domain::kinds::{
    AddReaction, ChangeRole, ChangeTitle, Create, DeleteMessage, EditMessage, Leave, PinMessage, RemoveMember,
    RemoveReaction, SendMessage, UnpinMessage, Withdraw,
};
use domain::{Action, Change, CommandId, Content, Effects, Event, MessageText, Role, UserId};
use serde::{Deserialize, Serialize};

use crate::integer::maybe;
use crate::said::{ContentBody, MentionsBody, QuoteBody};

/// The kind of an accepted event, with its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are those of `domain::Action` and its effects
pub enum FeedKind {
    Created {
        conversation_kind: String,
        title: String,
        members: Vec<UserId>,
    },
    Joined {
        members: Vec<UserId>,
    },
    Left {
        user: UserId,
        /// The new owner, if the owner has left.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        owner: Option<UserId>,
    },
    /// With the role `owner`, the author of the event, who was the owner, becomes an admin.
    RoleChanged {
        user: UserId,
        role: String,
    },
    TitleChanged {
        title: String,
    },
    Message {
        #[serde(with = "crate::text")]
        body: MessageText,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reply_to: Option<CommandId>,
        /// The root of the thread that it is in.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        thread: Option<CommandId>,
        /// The number of the thread's messages up to and including it.
        #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "maybe")]
        thread_ordinal: Option<u64>,
        /// Whether a message of a thread is in the main view as well.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        also_in_conversation: bool,
        /// The part of the message that it replies to.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        quote: Option<QuoteBody>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        mentions: Option<MentionsBody>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        content: Option<ContentBody>,
    },
    /// What the message says from now on, as a whole. All of it is absent for recipients who joined after the message was
    /// sent.
    Edited {
        target: CommandId,
        #[serde(skip_serializing_if = "Option::is_none", default, with = "crate::text::optional")]
        body: Option<MessageText>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        mentions: Option<MentionsBody>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        content: Option<ContentBody>,
        /// The users of `mentions` whom the message has not mentioned before: only they are to be notified.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        mentioned: Vec<UserId>,
        /// Whether it mentions every member, and has not before.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        mentioned_all: bool,
    },
    Deleted {
        target: CommandId,
    },
    /// Of events under rules before version 3: the emoji is the author's only reaction from now on; an empty one means
    /// that there is none. It is absent for recipients who joined after the message was sent.
    Reacted {
        target: CommandId,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        emoji: Option<String>,
    },
    Withdrawn {},
    /// The emoji is absent for recipients who joined after the message was sent.
    ReactionAdded {
        target: CommandId,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        emoji: Option<String>,
    },
    /// The emoji is absent for recipients who joined after the message was sent.
    ReactionRemoved {
        target: CommandId,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        emoji: Option<String>,
    },
    Pinned {
        target: CommandId,
    },
    Unpinned {
        target: CommandId,
    },
}

impl FeedKind {
    /// A text, outside threads.
    #[must_use]
    pub fn message(body: MessageText, reply_to: Option<CommandId>) -> Self {
        let (thread, thread_ordinal, quote, mentions, content) = (None, None, None, None, None);
        let also_in_conversation = false;
        Self::Message { body, reply_to, thread, thread_ordinal, also_in_conversation, quote, mentions, content }
    }

    /// A message has another text, and nothing else to say.
    #[must_use]
    pub fn edited(target: CommandId, body: MessageText) -> Self {
        Self::Edited {
            target,
            body: Some(body),
            mentions: None,
            content: None,
            mentioned: Vec::new(),
            mentioned_all: false,
        }
    }

    pub(crate) fn of(event: &Event, effects: &Effects) -> Self {
        match &event.action {
            Action::Create(Create { kind, title, .. }) => Self::Created {
                conversation_kind: kind.name().to_owned(),
                title: title.clone().unwrap_or_default(),
                members: effects.recipients.clone(),
            },
            Action::AddMembers(_) => Self::Joined { members: joined(effects) },
            Action::RemoveMember(RemoveMember { user }) => Self::Left { user: *user, owner: heir(effects) },
            Action::Leave(Leave) => Self::Left { user: event.author, owner: heir(effects) },
            Action::ChangeRole(ChangeRole { user, role }) => {
                Self::RoleChanged { user: *user, role: role.name().to_owned() }
            }
            Action::ChangeTitle(ChangeTitle { title }) => Self::TitleChanged { title: title.clone() },
            Action::SendMessage(SendMessage { body, reply_to, thread }) => Self::Message {
                body: body.text.clone(),
                mentions: MentionsBody::of(&body.mentions),
                content: body.custom.clone().map(ContentBody::from),
                reply_to: reply_to.map(|reply| reply.to),
                quote: reply_to.and_then(|reply| reply.quote).map(QuoteBody::from),
                thread: thread.map(|thread| thread.root),
                thread_ordinal: thread_ordinal(effects),
                also_in_conversation: thread.is_some_and(|thread| thread.also_in_conversation),
            },
            Action::EditMessage(EditMessage { target, body }) => Self::Edited {
                target: *target,
                body: Some(body.text.clone()),
                mentions: MentionsBody::of(&body.mentions),
                content: body.custom.clone().map(ContentBody::from),
                mentioned: mentioned(effects),
                mentioned_all: mentions_all_newly(effects),
            },
            Action::DeleteMessage(DeleteMessage { target }) => Self::Deleted { target: *target },
            Action::AddReaction(AddReaction { target, emoji }) if event.rules < 3 => {
                Self::Reacted { target: *target, emoji: Some(emoji.clone()) }
            }
            Action::AddReaction(AddReaction { target, emoji }) => {
                Self::ReactionAdded { target: *target, emoji: Some(emoji.clone()) }
            }
            Action::RemoveReaction(RemoveReaction { target, .. }) if event.rules < 3 => {
                Self::Reacted { target: *target, emoji: Some(String::new()) }
            }
            Action::RemoveReaction(RemoveReaction { target, emoji }) => {
                Self::ReactionRemoved { target: *target, emoji: emoji.clone() }
            }
            Action::Withdraw(Withdraw) => Self::Withdrawn {},
            Action::PinMessage(PinMessage { target }) => Self::Pinned { target: *target },
            Action::UnpinMessage(UnpinMessage { target }) => Self::Unpinned { target: *target },
        }
    }

    /// Takes out what recipients who joined after the target may not read: what it says, and reactions.
    pub(crate) fn withhold(&mut self) {
        match self {
            Self::Edited { target: _, body, mentions, content, mentioned, mentioned_all } => {
                (*body, *mentions, *content, *mentioned_all) = (None, None, None, false);
                mentioned.clear();
            }
            Self::Reacted { target: _, emoji }
            | Self::ReactionAdded { target: _, emoji }
            | Self::ReactionRemoved { target: _, emoji } => *emoji = None,
            // These change no message, or have nothing to tell.
            Self::Created { .. }
            | Self::Joined { .. }
            | Self::Left { .. }
            | Self::RoleChanged { .. }
            | Self::TitleChanged { .. }
            | Self::Message { .. }
            | Self::Deleted { .. }
            | Self::Withdrawn {}
            | Self::Pinned { .. }
            | Self::Unpinned { .. } => {}
        }
    }

    /// Whether users join or leave by the event.
    #[must_use]
    pub fn changes_members(&self) -> bool {
        match self {
            Self::Created { .. } | Self::Joined { .. } | Self::Left { .. } => true,
            Self::RoleChanged { .. }
            | Self::TitleChanged { .. }
            | Self::Message { .. }
            | Self::Edited { .. }
            | Self::Deleted { .. }
            | Self::Reacted { .. }
            | Self::ReactionAdded { .. }
            | Self::ReactionRemoved { .. }
            | Self::Withdrawn {}
            | Self::Pinned { .. }
            | Self::Unpinned { .. } => false,
        }
    }
}

/// The members that the event has added.
fn joined(effects: &Effects) -> Vec<UserId> {
    let joined = effects.changes.iter().find_map(|change| match change {
        Change::Timeline { content: Content::Joined(users), .. } => Some(users.clone()),
        _ => None,
    });
    joined.unwrap_or_default()
}

/// The members whom the event mentions newly.
fn mentioned(effects: &Effects) -> Vec<UserId> {
    let added = effects.changes.iter().find_map(|change| match change {
        Change::Extras { added, .. } => Some(added.clone()),
        _ => None,
    });
    added.unwrap_or_default()
}

fn mentions_all_newly(effects: &Effects) -> bool {
    effects.changes.iter().any(|change| matches!(change, Change::Extras { all: Some(true), .. }))
}

/// The number of the messages of a thread with the one that the event has added.
fn thread_ordinal(effects: &Effects) -> Option<u64> {
    effects.changes.iter().find_map(|change| match change {
        Change::Thread { ordinal, .. } => Some(*ordinal),
        _ => None,
    })
}

/// The new owner, if the owner has left.
fn heir(effects: &Effects) -> Option<UserId> {
    effects.changes.iter().find_map(|change| match change {
        Change::Member { user, role: Some(Role::Owner) } => Some(*user),
        _ => None,
    })
}
