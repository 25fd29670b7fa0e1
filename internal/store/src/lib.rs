//! The store: the interface between the services and ScyllaDB (or Cassandra) or the embedded engine.
//!
//! Rows derived from the log are written with the event's seq as their timestamp: in every cell the higher
//! timestamp wins, on a tie the larger bytes, so writing rows again, late or out of order changes nothing. These
//! tables have no deletes, no nulls, no counters and no writes but through this crate. They belong to an
//! *incarnation*: rows are only rebuilt in new tables, beside those that are in use. The user tables are the user
//! service's own data, not derived from the log.

mod cell_sets;
mod cells;
mod content_cells;
mod conversations;
mod decode;
#[cfg(test)]
mod decode_tests;
mod effects;
mod entry;
mod error;
mod facts;
mod following;
mod holds;
mod incarnations;
mod message_rows;
mod replaced;
mod rows;
mod sessions;
mod timeline;
mod users;
mod value;

pub mod canonical;
pub mod conformance;
pub mod embedded;
pub mod observer;
pub mod tables;
pub mod wrapper;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::{
    CommandId, ConversationId, ConversationState, Fingerprint, IdRow, Membership, Pin, Refusal, Role, Said, Seq,
    Settings, UserId,
};

pub use cell_sets::{CellSet, Phase};
pub use cells::{CellWrites, Unfit};
pub use conversations::{CacheEntry, Conversations};
pub use decode::{Malformed, MemberVersion, MembersAsOf, RowValues};
pub use effects::rows_of;
pub use entry::{ANNOTATING, Annotations, Entry, MessageReaction, MessageVersion, REACTIONS_SHOWN_MAX, ThreadSummary};
pub use error::StoreError;
pub use facts::{Answers, FactsLookup, Loaded, TargetRead, load, read_target};
pub use following::Following;
pub use holds::{Consumer, DROPS_MAX, Dropped, Hold, HoldStore};
pub use incarnations::{Beside, IncarnationStore, Incarnations, Stage, no_incarnation, pinned};
pub use message_rows::{ExtrasRow, ReactionRow, ThreadRow};
pub use replaced::{is_of_another_incarnation, replaced, still_current};
pub use rows::{BUCKET_SLOTS, CELL_SETS, Row, bucket_of};
pub use sessions::{ENDED_BUCKET_MS, ListedSession, ReplacedToken, Session, SessionStore, TokenFamily};
pub use timeline::{
    BUCKETS_MAX, Direction, Head, LastMessage, Mark, MentionOfAll, Page, ROWS_LOOKED_AT_MAX, ThreadMessage,
    UserConversation,
};
pub use users::{Account, AccountCreated, Audience, OutboxRow, Privacy, PrivacyUpdate, UserStore};
pub use value::{Value, ValueRef};

/// A shared handle to a store.
pub type SharedStore = Arc<dyn Store>;

/// All traits of a store. Programs hold a [`SharedStore`]; their parts take the trait that they need.
pub trait Store: ChatStore + HistoryStore + HoldStore + UserStore + StoreAdmin + IncarnationStore {}

impl<S: ChatStore + HistoryStore + HoldStore + UserStore + StoreAdmin + IncarnationStore> Store for S {}

/// A partition of a source topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// `chat.messages` or `chat.receipts`.
    pub topic: &'static str,
    /// The partition.
    pub partition: u32,
}

/// The progress of storage in a source partition: everything up to `seq` is written, or skipped under a written
/// hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The seq of the last record.
    pub seq: Seq,
    /// The fingerprint of the last record, which proves that the partition was not re-created.
    pub fingerprint: Fingerprint,
}

/// What consumers need: writing rows, and reading state and facts as of a seq in the log.
///
/// Every read of state or facts for an event at `s` is made in this order: `applied >= s - 1`, then the hold, then
/// the rows as of `s - 1`. Rows after `as_of` may exist and are never visible.
#[async_trait]
pub trait ChatStore: Send + Sync + 'static {
    /// Writes cells. When it returns, every later read sees them.
    ///
    /// Ordering: by [`Phase`]: timeline and versions, then ids, then heads and marks. Not atomic: a failure may leave
    /// any prefix. Idempotent and commutative.
    async fn write(&self, writes: Vec<CellWrites>) -> Result<(), StoreError>;

    /// The conversation as of `as_of`: members with roles and `since`, settings and counters; the default state
    /// when it does not exist yet.
    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError>;

    /// The settings as of `as_of`, as in [`ChatStore::conversation`], without reading the members.
    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError>;

    /// All id rows stamped at or after `from_stamp_ms`, as of `as_of`, up to the conversation's newest accepted stamp.
    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError>;

    /// The row of one id as of `as_of` (without a later deletion); `None` when the id was not accepted by then.
    async fn id(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<IdRow>, StoreError>;

    /// The emojis that a message had taken as of `as_of`, at most [`domain::limits::EMOJIS_PER_MESSAGE_MAX`].
    async fn emojis(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Vec<String>, StoreError>;

    /// The number of messages of the thread with that root as of `as_of`, deleted ones included.
    async fn thread_length(&self, conversation: ConversationId, root: Seq, as_of: Seq) -> Result<u64, StoreError>;

    /// What must be known of what a message says as of `as_of`.
    async fn said(&self, conversation: ConversationId, slot: u64, message: Seq, as_of: Seq)
    -> Result<Said, StoreError>;

    /// The pinned messages as of `as_of`, as in [`ChatStore::conversation`].
    async fn pins(&self, conversation: ConversationId, as_of: Seq) -> Result<Vec<Pin>, StoreError>;

    /// Publishes progress, after the rows were written. A `seq` below the stored one changes nothing.
    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError>;

    /// Writes cells and publishes the progress that they make: [`ChatStore::write`], then [`ChatStore::set_applied`].
    /// The embedded engine does both in one commit.
    async fn write_and_apply(
        &self,
        writes: Vec<CellWrites>,
        source: Source,
        applied: Applied,
    ) -> Result<(), StoreError> {
        self.write(writes).await?;
        self.set_applied(source, applied).await
    }

    /// The progress; `None` when nothing was applied in this incarnation.
    async fn applied(&self, source: Source) -> Result<Option<Applied>, StoreError>;

    /// Waits until `applied >= seq`, at most for `wait`; returns whether it is. A wait of zero checks once.
    ///
    /// Fails with [`StoreError::Incarnation`] when another incarnation became current meanwhile.
    async fn wait_applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError>;
}

/// The reads of the API: the newest values, at quorum.
#[async_trait]
pub trait HistoryStore: Send + Sync + 'static {
    /// At most `limit` entries of the timeline, ascending or descending by seq, after the page's anchor, with
    /// their reactions.
    async fn timeline(&self, conversation: ConversationId, page: Page) -> Result<Vec<Entry>, StoreError>;

    /// The entry with that slot and seq; `None` when it does not exist.
    async fn entry(&self, conversation: ConversationId, slot: u64, seq: Seq) -> Result<Option<Entry>, StoreError>;

    /// What a message has said since each of its edits that were kept, at most `limit` of them, after the one at `after`. Of a
    /// deleted message they are empty.
    async fn versions(
        &self,
        conversation: ConversationId,
        message: Seq,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MessageVersion>, StoreError>;

    /// At most `limit` messages of the thread with that root as of `as_of`, ascending or descending by seq, after the page's
    /// anchor.
    async fn thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        page: Page,
        as_of: Seq,
    ) -> Result<Vec<ThreadMessage>, StoreError>;

    /// The places of messages before `before` (`None`: all) under which there are threads, the newest first, at most
    /// `limit`. An engine that reads bucket by bucket stops after [`BUCKETS_MAX`] of them.
    async fn threads(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<(Seq, u64)>, StoreError>;

    /// The places of the messages that mention the user by name, ascending or descending by seq, after the page's anchor, at
    /// most as many as its limit. A message that does so no more, or was deleted, is none of them; so many rows of those end the
    /// page: [`ROWS_LOOKED_AT_MAX`].
    async fn mentions(
        &self,
        user: UserId,
        conversation: ConversationId,
        page: Page,
    ) -> Result<Vec<(Seq, u64)>, StoreError>;

    /// The messages that mention every member, as [`HistoryStore::mentions`]. An engine that reads bucket by bucket stops
    /// after [`BUCKETS_MAX`] of them.
    async fn mentions_of_all(&self, conversation: ConversationId, page: Page) -> Result<Vec<MentionOfAll>, StoreError>;

    /// Every membership version of one user in one conversation, by seq; `None` is a leaving.
    async fn memberships(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<(Seq, Option<Role>)>, StoreError>;

    /// A page of the members as of `as_of`, by id, after `after` (`None`: from the first): `limit` of them; fewer
    /// means that there are no more. The other members are not read. All users' ids are made in the same way, so
    /// every engine sorts them by bytes.
    async fn members(
        &self,
        conversation: ConversationId,
        as_of: Seq,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, Membership)>, StoreError>;

    /// A page of the conversations that the user is or was a member of, by id, after `after` (`None`: from the
    /// first): `limit` of them; fewer means that there are no more. All ids are derived in the same way, so every
    /// engine sorts them by bytes.
    async fn conversations_of(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<UserConversation>, StoreError>;

    /// The user's own row of one conversation.
    async fn user_conversation(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<UserConversation>, StoreError>;

    /// The heads of conversations, in the order of the argument.
    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, StoreError>;

    /// The user's read marks in conversations, in the order of the argument.
    async fn marks(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError>;

    /// The user's last own messages in conversations, in the order of the argument. Messages under version 1 of
    /// the rules do not count.
    async fn sent(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError>;

    /// The users who took the user into groups, at the latest joining, in the order of the argument; `None` for
    /// direct conversations, for groups that the user has created, and for joinings under version 1 of the rules.
    async fn inviters(&self, user: UserId, conversations: &[ConversationId])
    -> Result<Vec<Option<UserId>>, StoreError>;

    /// The number of messages after `after` and up to `upto` that were deleted by `as_of`; counts up to `limit`.
    /// Deletions under version 1 of the rules do not count.
    async fn deleted(
        &self,
        conversation: ConversationId,
        said: (Seq, Seq),
        as_of: Seq,
        limit: usize,
    ) -> Result<usize, StoreError>;

    /// The reason why a command of the author was refused, and the seq of the refused event (the latest, if there
    /// are several). `None` also for authors who never were members, and for refusals under version 1 of the
    /// rules.
    async fn refusal(
        &self,
        conversation: ConversationId,
        author: UserId,
        id: CommandId,
    ) -> Result<Option<(Refusal, Seq)>, StoreError>;
}

/// The tables, and their content as bytes.
#[async_trait]
pub trait StoreAdmin: Send + Sync + 'static {
    /// The incarnation that this handle was pinned to when it was opened.
    fn incarnation(&self) -> u32;

    /// The store's current incarnation. When it is not the pinned one, start again with another handle.
    async fn current_incarnation(&self) -> Result<u32, StoreError>;

    /// Empties every log-derived table at once: makes a new incarnation and switches to it; returns its number.
    /// Existing handles keep the old one. For tests; to rebuild rows in production, build an incarnation beside
    /// the current one.
    async fn new_incarnation(&self) -> Result<u32, StoreError>;

    /// The names of the log-derived tables, sorted (without `applied` and holds).
    fn derived_tables(&self) -> Vec<&'static str>;

    /// Rows of a log-derived table in this handle's incarnation, in an order of the engine's own, after `after`
    /// (`None`: from the first). Each row is returned as its canonical bytes (key and cells with their
    /// timestamps), the same in every engine. The second value is the `after` of the next call, `None` at the end.
    async fn scan(&self, table: &str, after: Option<Vec<u8>>) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError>;

    /// The rows of a log-derived table with these keys (each in the order of [`tables::Table::key`]), as canonical
    /// bytes, in the order of the argument; `None` where there is no row. For checks of single cells.
    async fn rows(&self, table: &str, keys: &[Vec<Value>]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Checks that the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Finishes pending work and releases the store.
    async fn close(&self);
}
