//! `change_role`: changes a member's role.

use super::prelude::*;

/// Changes a member's role; only the owner may. Making another member the owner makes the author an admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRole {
    /// The member whose role changes.
    pub user: UserId,
    /// The new role.
    pub role: Role,
}

impl EventKind for ChangeRole {
    fn kind(&self) -> Kind {
        Kind::ChangeRole
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
        if role != Role::Owner {
            return Err(Refusal::Forbidden);
        }
        let theirs = at.state.role(self.user).ok_or(Refusal::NoSuchMember)?;
        if theirs == self.role {
            return Err(Refusal::Already);
        }
        if self.user == author {
            return Err(Refusal::Invalid); // a group always has an owner: transfer the ownership instead
        }
        let mut changes = vec![Change::Member { user: self.user, role: Some(self.role) }];
        if self.role == Role::Owner {
            changes.push(Change::Member { user: author, role: Some(Role::Admin) });
        }
        Ok(changes)
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.bytes(self.user.as_bytes()).text(self.role.name());
    }

    fn samples() -> Vec<Self> {
        vec![Self { user: sample::user(2), role: Role::Admin }]
    }
}
