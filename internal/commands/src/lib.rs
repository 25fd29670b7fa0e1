//! Checking a command and appending it to the log: the library that the HTTP API and the socket service both link.
//!
//! Checks here are advisory, for quick answers: a "no" from the store is final only once `applied` has passed the
//! watermark taken when the request came; otherwise the command is appended and the reducer decides at log order.

use api::{Accepted, ApiError, CommandFrame};
use domain::{CommandId, ConversationId, Seq, UserId};
use events::Codec;
use eventlog::{Receipt, SharedLog};
use host::Clock;
use store::SharedStore;

/// Checks and appends commands. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    log: SharedLog,
    store: SharedStore,
    codec: Codec,
    clock: Clock,
}

/// A command that the log has taken into its queue.
#[derive(Debug)]
pub struct Submitted {
    /// The command.
    pub id: CommandId,
    /// Its conversation.
    pub conversation: ConversationId,
    receipt: Receipt,
}

impl Submitted {
    /// Waits until the command is durable in the log.
    ///
    /// # Errors
    /// `unknown` when that cannot be told in time.
    pub async fn logged(self) -> Result<Accepted, ApiError> {
        todo!()
    }
}

impl Commands {
    /// Commands that are appended to `log` and checked against `store`.
    #[must_use]
    pub fn new(log: SharedLog, store: SharedStore, codec: Codec, clock: Clock) -> Self {
        Self { log, store, codec, clock }
    }

    /// Checks the command and hands it to the log. Of two calls that follow one another, the first one's event stands
    /// first, if both are of one conversation.
    ///
    /// # Errors
    /// Why the command was not appended: final for this copy.
    pub async fn submit(
        &self,
        _author: UserId,
        _command: CommandFrame,
        _trace: Option<&str>,
    ) -> Result<Submitted, ApiError> {
        todo!()
    }

    /// Raises the user's read mark to the entry at `seq` (or the nearest entry before it) and waits until that is in the log; returns the entry's place.
    /// Marks are coalesced to one per user and conversation in two seconds.
    ///
    /// # Errors
    /// `retry` when there is no such row yet.
    pub async fn mark(&self, _user: UserId, _conversation: ConversationId, _seq: Seq) -> Result<Seq, ApiError> {
        todo!()
    }
}
