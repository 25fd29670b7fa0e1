//! `delete_message`: deletes a message.

use super::prelude::*;

/// Deletes a message of the author's own, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteMessage {
    /// The message.
    pub target: CommandId,
}

impl EventKind for DeleteMessage {
    fn kind(&self) -> Kind {
        Kind::DeleteMessage
    }

    fn about(&self) -> About<'_> {
        About {
            target: Target::Own(self.target),
            audience: Audience::Members,
            taken_in: &[],
            title: None,
            text_bytes: 0,
        }
    }

    fn check(&self, _author: UserId) -> Result<(), String> {
        Ok(())
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        at.member()?;
        let (row, slot) = at.own_message()?;
        Ok(vec![Change::Deleted { id: self.target, seq: row.seq, slot }])
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.bytes(self.target.as_bytes());
    }

    fn samples() -> Vec<Self> {
        vec![Self { target: sample::target() }]
    }
}
