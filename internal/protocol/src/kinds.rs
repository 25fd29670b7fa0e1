//! The kinds of accepted events, as frames of the feed name them.

use domain::{Action, CommandId, Content, Effects, Event, Role, UserId};
use serde::{Deserialize, Serialize};

/// What happened in an accepted event.
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
        /// Who is the owner from here on, where the owner has left.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        owner: Option<UserId>,
    },
    /// Who makes another the owner is an admin from here on.
    RoleChanged {
        user: UserId,
        role: String,
    },
    TitleChanged {
        title: String,
    },
    Message {
        body: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reply_to: Option<CommandId>,
    },
    /// Without a body to who has joined since the message was said.
    Edited {
        target: CommandId,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        body: Option<String>,
    },
    Deleted {
        target: CommandId,
    },
    /// An empty emoji takes the reaction back. Without one to who has joined since the message was said.
    Reacted {
        target: CommandId,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        emoji: Option<String>,
    },
    Withdrawn {},
}

impl FeedKind {
    pub(crate) fn of(event: &Event, effects: &Effects) -> Self {
        let content = effects.changes.iter().find_map(|change| match change {
            domain::Change::Timeline { content, .. } => Some(content),
            _ => None,
        });
        match (&event.action, content) {
            (Action::Create { kind, title, .. }, _) => Self::Created {
                conversation_kind: kind.name().to_owned(),
                title: title.clone().unwrap_or_default(),
                members: effects.recipients.clone(),
            },
            (_, Some(Content::Joined(members))) => Self::Joined { members: members.clone() },
            (_, Some(Content::Left(user))) => {
                let owner = effects.changes.iter().find_map(|change| match change {
                    domain::Change::Member { user, role: Some(Role::Owner) } => Some(*user),
                    _ => None,
                });
                Self::Left { user: *user, owner }
            }
            (Action::ChangeRole { user, role }, _) => Self::RoleChanged { user: *user, role: role.name().to_owned() },
            (Action::ChangeTitle { title }, _) => Self::TitleChanged { title: title.clone() },
            (Action::SendMessage { body, reply_to }, _) => Self::Message { body: body.clone(), reply_to: *reply_to },
            (Action::EditMessage { target, body }, _) => Self::Edited { target: *target, body: Some(body.clone()) },
            (Action::DeleteMessage { target }, _) => Self::Deleted { target: *target },
            (Action::AddReaction { target, emoji }, _) => Self::Reacted { target: *target, emoji: Some(emoji.clone()) },
            (Action::RemoveReaction { target }, _) => Self::Reacted { target: *target, emoji: Some(String::new()) },
            (Action::Withdraw | Action::AddMembers { .. } | Action::RemoveMember { .. } | Action::Leave, _) => {
                Self::Withdrawn {}
            }
        }
    }
}
