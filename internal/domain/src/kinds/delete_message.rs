//! `delete_message`: deletes a message.

use super::prelude::*;
use crate::Extras;

/// Deletes a message for good: one of the author's own or, since version 3 of the rules, another's as an admin.
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
            target: Target::Readable(self.target),
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
        let role = at.member()?;
        let (row, slot) = at.deletable_message(role)?;
        let by = Some(at.event.author).filter(|author| *author != row.author);
        let said = &at.facts.of_target.said;
        let (whole, edits, thread) = (said.was_more(), said.edits.clone(), row.thread);
        let deleted = Change::Deleted { id: self.target, seq: row.seq, slot, by, thread, whole, edits };
        let extras = at.extras((row.seq, slot), row.author, (&said.extras, Extras::default()), None);
        Ok(std::iter::once(deleted).chain(at.without_pin(row.seq)).chain(extras).collect())
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
