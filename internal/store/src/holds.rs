//! Holds: conversations whose next event a consumer cannot judge yet.

use async_trait::async_trait;
use domain::{ConversationId, Seq};

use crate::StoreError;

/// The consumer that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consumer {
    /// Its holds belong to the incarnation.
    Storage,
    /// Its holds outlive incarnations.
    Fanout,
    /// Storage, of `chat.receipts`: read marks that it could not read. They belong to the incarnation.
    Marks,
    /// The fan-out, of `chat.receipts`. Outlive incarnations, as all of its holds.
    MarksRelay,
    /// The fan-out, of `users.events`, whose keys are users. Outlive incarnations.
    AccountsRelay,
}

impl Consumer {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Storage, Self::Fanout, Self::Marks, Self::MarksRelay, Self::AccountsRelay];

    /// The name in rows and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Fanout => "fanout",
            Self::Marks => "marks",
            Self::MarksRelay => "marks-relay",
            Self::AccountsRelay => "accounts-relay",
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

/// The most events of one source partition that are dropped: consumers keep them all in memory.
pub const DROPS_MAX: usize = 1000;

/// An event that an operator has dropped: it counts as corrupt, for both consumers and in every replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its seq, which is one of the source partition's.
    pub seq: Seq,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Who dropped it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When, by the operator's clock.
    pub time_ms: i64,
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

    /// Notes that an event is dropped, durably and for ever: this outlives incarnations, so that a replay comes to the same
    /// rows. One that was dropped before stays as it was noted then.
    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError>;

    /// The dropped events of a source partition in order, at most [`DROPS_MAX`].
    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError>;
}
