//! Signals: facts about the present moment. They are not events: the reducer does not judge them, they are not
//! stored, and they may be lost.
//!
//! A new kind of signal is a variant of [`Signal`]; the compiler then asks for its record in `events` and its
//! frame in `protocol`.

use std::time::Duration;

use crate::{ConversationId, UserId};

/// A device sends at most one typing signal per conversation in this time.
pub const TYPING_EVERY: Duration = Duration::from_secs(3);
/// How long clients show a signal: the user is shown as typing for this long, or until they send a message.
pub const SIGNAL_SHOWN: Duration = Duration::from_secs(6);
/// In conversations with more members, typing signals are not sent.
pub const TYPING_MEMBERS_MAX: usize = 100;

/// One signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Somebody is typing.
    Typing {
        /// The conversation that the user types in.
        conversation: ConversationId,
        /// The user who is typing.
        user: UserId,
    },
}

impl Signal {
    /// Whether the signal says the same as an earlier one, so that the earlier one need not be sent any more.
    #[must_use]
    pub fn replaces(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Typing { .. }, Self::Typing { .. }) => self == earlier,
        }
    }
}
