//! The held conversations of a partition that are still to be driven again; `redrive.rs` does it.

use std::collections::VecDeque;

use domain::ConversationId;

/// Conversations that wait for their next slice; further ones are found by the next minute's pass.
const WAITING_MAX: usize = 1000;

/// The conversations to be driven again.
#[derive(Debug, Default)]
pub(crate) struct Redrives {
    /// The conversations, in the order of their slices.
    pub(crate) waiting: VecDeque<ConversationId>,
    /// Holds behind that conversation (from the first on: the inner `None`) are still to be listed.
    pub(crate) listing: Option<Option<ConversationId>>,
}

impl Redrives {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.listing.is_none()
    }

    pub(crate) fn add(&mut self, conversation: ConversationId) {
        if self.waiting.len() < WAITING_MAX && !self.waiting.contains(&conversation) {
            self.waiting.push_back(conversation);
        }
    }
}
