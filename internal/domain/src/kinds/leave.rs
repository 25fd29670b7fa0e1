//! `leave`: the author leaves the group.

use super::prelude::*;

/// The author leaves the group. When the owner leaves, the admin who has been a member longest becomes owner;
/// without an admin, the member who has been one longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave;

impl EventKind for Leave {
    fn kind(&self) -> Kind {
        Kind::Leave
    }

    fn about(&self) -> About<'_> {
        About { target: Target::None, audience: Audience::Members, taken_in: &[], title: None, text_bytes: 0 }
    }

    fn check(&self, _author: UserId) -> Result<(), String> {
        Ok(())
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        let (author, role) = (at.event.author, at.member()?);
        at.group()?;
        let mut changes = vec![Change::Member { user: author, role: None }];
        if role == Role::Owner {
            // Order of succession: the highest role, then the longest membership, then the lower id. Every program
            // finds the same one.
            let others = at.state.members.iter().filter(|(user, _)| **user != author);
            let heir =
                others.min_by_key(|(user, membership)| (std::cmp::Reverse(membership.role), membership.since, **user));
            changes.extend(heir.map(|(user, _)| Change::Member { user: *user, role: Some(Role::Owner) }));
        }
        changes.push(at.entry(Content::Left(author)));
        Ok(changes)
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, _input: &mut HashInput) {}

    fn samples() -> Vec<Self> {
        vec![Self]
    }
}
