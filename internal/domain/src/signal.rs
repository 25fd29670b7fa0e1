//! Signals: what is true for a moment. They are no events: nobody judges them, nothing keeps them, and they may be lost.
//!
//! A new kind of signal is a variant of [`Signal`]; the matches over it say what else has to know it (its record in
//! `events`, its frame in `protocol`).

use std::time::Duration;

use crate::{ConversationId, UserId};

/// A device says that its user is typing at most once in so long, for each conversation.
pub const TYPING_EVERY: Duration = Duration::from_secs(3);
/// How long a signal is of use: somebody is shown as typing for so long, or until they say something.
pub const SIGNAL_SHOWN: Duration = Duration::from_secs(6);
/// In conversations with more members nobody is told who is typing.
pub const TYPING_MEMBERS_MAX: usize = 100;

/// Something of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Somebody is typing.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        user: UserId,
    },
}

impl Signal {
    /// Whether it says the same as an earlier one did, only later: who has not heard of that one need not.
    #[must_use]
    pub fn replaces(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Typing { .. }, Self::Typing { .. }) => self == earlier,
        }
    }
}
