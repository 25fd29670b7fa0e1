//! `create`: opens a conversation.

use std::collections::BTreeSet;

use super::prelude::*;
use crate::limits::{MEMBERS_PER_EVENT_MAX, TITLE_BYTES_MAX};
use crate::{ConversationId, ConversationKind, Settings};

/// Opens a conversation. The author becomes a member; of a group, its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// A direct conversation or a group.
    pub kind: ConversationKind,
    /// The title, which only a group may have.
    pub title: Option<String>,
    /// The first members, with or without the author.
    pub members: Vec<UserId>,
}

impl EventKind for Create {
    fn kind(&self) -> Kind {
        Kind::Create
    }

    fn about(&self) -> About<'_> {
        About {
            target: Target::None,
            audience: Audience::Members,
            taken_in: &self.members,
            title: self.title.as_deref(),
            text_bytes: self.title.as_ref().map_or(0, String::len),
        }
    }

    fn check(&self, author: UserId) -> Result<(), String> {
        input::member_count(&self.members)?;
        let title = self.title.as_deref().unwrap_or("");
        match self.kind {
            ConversationKind::Group => input::label("title", title, TITLE_BYTES_MAX),
            ConversationKind::Direct if !title.is_empty() => Err("a direct conversation has no title".to_owned()),
            ConversationKind::Direct => {
                let mut others = self.members.iter().filter(|user| **user != author);
                let first = others.next();
                if first.is_some() && others.all(|user| Some(user) == first) {
                    Ok(())
                } else {
                    Err("a direct conversation has exactly one other member".to_owned())
                }
            }
        }
    }

    /// Does not check membership: before the creation there are no members.
    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        if at.state.settings.is_some() {
            return Err(Refusal::Exists);
        }
        let author = at.event.author;
        let title = self.title.as_deref().unwrap_or("");
        let others: BTreeSet<UserId> = self.members.iter().copied().filter(|user| *user != author).collect();
        if self.members.len() > MEMBERS_PER_EVENT_MAX {
            return Err(Refusal::Invalid);
        }
        at.title_fits(title)?;
        // The id is derived from the creator or the two users, so nobody can open a conversation under the id of
        // another.
        let (id, founder) = match self.kind {
            ConversationKind::Direct => match (others.first(), others.len(), title) {
                (Some(other), 1, "") => (ConversationId::direct(author, *other), Role::Member),
                _ => return Err(Refusal::Invalid),
            },
            ConversationKind::Group => (ConversationId::group(author, at.event.id), Role::Owner),
        };
        if id != at.event.conversation {
            return Err(Refusal::Invalid);
        }
        if !others.is_empty() {
            at.looked_up()?;
        }
        let mut changes = vec![Change::Settings(Settings { kind: self.kind, title: title.to_owned() })];
        changes.push(Change::Member { user: author, role: Some(founder) });
        changes.extend(others.into_iter().map(|user| Change::Member { user, role: Some(Role::Member) }));
        changes.push(at.entry(Content::Created));
        Ok(changes)
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.text(self.kind.name()).optional(self.title.as_deref().map(str::as_bytes)).users(&self.members);
    }

    fn samples() -> Vec<Self> {
        let members = vec![sample::user(2), sample::user(3)];
        vec![
            Self { kind: ConversationKind::Group, title: Some("Zürich ☕".into()), members },
            Self { kind: ConversationKind::Direct, title: None, members: vec![sample::user(2)] },
        ]
    }
}
