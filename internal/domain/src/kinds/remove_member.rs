//! `remove_member`: removes a member from a group.

use super::prelude::*;

/// Removes a member from a group. The owner may remove anybody, admins only plain members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveMember {
    /// The member to remove.
    pub user: UserId,
}

impl EventKind for RemoveMember {
    fn kind(&self) -> Kind {
        Kind::RemoveMember
    }

    fn about(&self) -> About<'_> {
        About { target: Target::None, audience: Audience::Members, taken_in: &[], title: None, text_bytes: 0 }
    }

    fn check(&self, author: UserId) -> Result<(), String> {
        if self.user == author {
            return Err("nobody removes themselves: leave the conversation instead".to_owned());
        }
        Ok(())
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        let role = at.member()?;
        at.group_admin(role)?;
        if self.user == at.event.author {
            return Err(Refusal::Invalid);
        }
        let theirs = at.state.role(self.user).ok_or(Refusal::NoSuchMember)?;
        if theirs >= role {
            return Err(Refusal::Forbidden);
        }
        Ok(vec![Change::Member { user: self.user, role: None }, at.entry(Content::Left(self.user))])
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.bytes(self.user.as_bytes());
    }

    fn samples() -> Vec<Self> {
        vec![Self { user: sample::user(4) }]
    }
}
