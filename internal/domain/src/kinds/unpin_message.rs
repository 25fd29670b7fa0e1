//! `unpin_message`: takes a pin away.

use super::prelude::*;

/// Takes the pin of a message away. Since version 3 of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpinMessage {
    /// The message.
    pub target: CommandId,
}

impl EventKind for UnpinMessage {
    fn kind(&self) -> Kind {
        Kind::UnpinMessage
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
        at.may_pin(role)?;
        let (row, _) = at.readable_message()?;
        at.without_pin(row.seq).map(|change| vec![change]).ok_or(Refusal::Already)
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
