//! `add_members`: adds users to a group.

use std::collections::BTreeSet;

use super::prelude::*;
use crate::RULES_TRIAL;
use crate::limits::{MEMBERS_MAX, MEMBERS_PER_EVENT_MAX};

/// Adds members to a group. The author must be the owner or an admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddMembers {
    /// The users to add. Those who are members already are skipped; if all are, the event is refused.
    pub members: Vec<UserId>,
}

impl EventKind for AddMembers {
    fn kind(&self) -> Kind {
        Kind::AddMembers
    }

    fn about(&self) -> About<'_> {
        About { target: Target::None, audience: Audience::Members, taken_in: &self.members, title: None, text_bytes: 0 }
    }

    fn check(&self, _author: UserId) -> Result<(), String> {
        if self.members.is_empty() {
            return Err("name at least one member to add".to_owned());
        }
        input::member_count(&self.members)
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        let role = at.member()?;
        if at.event.rules < RULES_TRIAL {
            at.group_admin(role)?
        } else {
            at.group()?
        };
        if self.members.is_empty() || self.members.len() > MEMBERS_PER_EVENT_MAX {
            return Err(Refusal::Invalid);
        }
        let known = &at.state.members;
        let joining: BTreeSet<UserId> = self.members.iter().copied().filter(|user| !known.contains_key(user)).collect();
        if joining.is_empty() {
            return Err(Refusal::Already);
        }
        at.looked_up()?;
        if known.len() + joining.len() > MEMBERS_MAX {
            return Err(Refusal::Full);
        }
        let mut changes: Vec<Change> =
            joining.iter().map(|user| Change::Member { user: *user, role: Some(Role::Member) }).collect();
        changes.push(at.entry(Content::Joined(joining.into_iter().collect())));
        Ok(changes)
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.users(&self.members);
    }

    fn samples() -> Vec<Self> {
        vec![Self { members: vec![sample::user(4)] }]
    }
}
