//! Holds: conversations whose next event a consumer cannot judge yet.

use async_trait::async_trait;
use domain::{ConversationId, Seq};

use crate::StoreError;

/// The consumer that has the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consumer {
    /// The storage consumer, for `chat.messages`. Its holds belong to the incarnation.
    Storage,
    /// The fan-out, for `chat.messages`. Its holds do not belong to an incarnation.
    Fanout,
    /// The storage consumer, for read marks of `chat.receipts` that it cannot read. They belong to the
    /// incarnation.
    Marks,
    /// The fan-out, for `chat.receipts`. They do not belong to an incarnation.
    MarksRelay,
    /// The fan-out, for `users.events`, whose keys are users. They do not belong to an incarnation.
    AccountsRelay,
}

impl Consumer {
    /// All consumers.
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
    /// Events up to this seq were skipped.
    pub skipped_to: Option<Seq>,
    /// Events up to this seq are done; they are never skipped.
    pub done_through: Option<Seq>,
}

impl Hold {
    /// Whether the conversation is held: an event was skipped that is not done.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.skipped_to > self.done_through
    }
}

/// The most dropped events of one source partition: consumers keep all of them in memory.
pub const DROPS_MAX: usize = 1000;

/// An event that an operator has dropped: every consumer treats it as corrupt, in every replay, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its seq in the source partition.
    pub seq: Seq,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The operator who dropped it.
    pub by: String,
    /// The operator's reason.
    pub why: String,
    /// The time on the operator's clock, milliseconds since the Unix epoch.
    pub time_ms: i64,
}

/// Hold rows: `(consumer, source partition) -> conversation -> skipped_to, done_through`.
#[async_trait]
pub trait HoldStore: Send + Sync + 'static {
    /// The row; the default value (not held) when there is none.
    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError>;

    /// Raises the given cells, in one write, durably. Lower values change nothing.
    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError>;

    /// At most `limit` held rows of one source partition, after `after`, in an order of the engine's own that is
    /// the same in every call. Fewer than `limit` means that there are no more.
    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError>;

    /// Records that an event is dropped, durably and for ever: the record does not belong to an incarnation, so
    /// that a replay gives the same rows. An existing record is not changed.
    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError>;

    /// The dropped events of a source partition in order, at most [`DROPS_MAX`].
    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError>;
}
