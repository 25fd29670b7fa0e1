//! Holds: conversations whose next event a consumer cannot judge yet.

use async_trait::async_trait;
use domain::{ConversationId, Seq};

use crate::StoreError;

/// Whose hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consumer {
    /// Its holds belong to the incarnation.
    Storage,
    /// Its holds outlive incarnations.
    Fanout,
}

impl Consumer {
    /// The name in rows and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Fanout => "fanout",
        }
    }
}

/// A hold row: two monotone cells whose timestamps are their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hold {
    /// Events up to here were skipped.
    pub skipped_to: Option<Seq>,
    /// Events up to here are done: they are never skipped.
    pub done_through: Option<Seq>,
}

impl Hold {
    /// Held: something was skipped that is not done.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.skipped_to > self.done_through
    }
}

/// Hold rows: `(consumer, source partition) -> conversation -> skipped_to, done_through`.
#[async_trait]
pub trait HoldStore: Send + Sync + 'static {
    /// The row; the default (not held) when there is none.
    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError>;

    /// Raises the cells that are given, in one write, durably. Lower values change nothing.
    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError>;

    /// The rows of one source partition that are held now, at most `limit`, from behind `after` on, in an order of the
    /// engine's own, the same in every call; fewer than `limit` when there are no more.
    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError>;
}
