//! `pin_message`: pins a message, so that everybody finds it.

use super::prelude::*;
use crate::Pin;
use crate::limits::PINS_MAX;

/// Pins a message. Since version 3 of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinMessage {
    /// The message.
    pub target: CommandId,
}

impl EventKind for PinMessage {
    fn kind(&self) -> Kind {
        Kind::PinMessage
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
        let (row, slot) = at.readable_message()?;
        let mut pins = at.state.pins.clone();
        if pins.iter().any(|pin| pin.seq == row.seq) {
            return Err(Refusal::Already);
        }
        if pins.len() >= PINS_MAX {
            return Err(Refusal::TooManyPins);
        }
        pins.push(Pin { id: self.target, seq: row.seq, slot });
        Ok(vec![Change::Pins(pins)])
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
