//! A store that is away, hangs, or says of a conversation what makes judging it panic.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::{CommandId, ConversationId, ConversationState, IdRow, Membership, Refusal, Role, Seq, Settings, UserId};
use store::{
    Account, AccountCreated, Applied, ChatStore, Consumer, ConversationRows, Dropped, Entry, Head, HistoryStore, Hold,
    HoldStore, IncarnationStore, Incarnations, ListedSession, Malformed, Mark, OutboxRow, Page, Session, SessionStore,
    SharedStore, Source, StoreAdmin, StoreError, UserConversation, UserStore, Value,
};
use tokio::time::sleep;

/// How the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Well,
    /// Every call fails at once.
    Away,
    /// Every call fails after the driver's patience.
    Hangs,
}

/// What the test sets, and sees.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    state: AtomicU8,
    /// Conversations whose counters stand at their highest: judging their next message panics.
    pub(crate) cursed: Mutex<BTreeSet<ConversationId>>,
    /// Conversations of which a row cannot be read.
    pub(crate) garbled: Mutex<BTreeSet<ConversationId>>,
    /// How often a hold was read.
    pub(crate) hold_reads: AtomicU64,
    /// What storage wrote of how far held conversations are done.
    pub(crate) steps: Mutex<Vec<Seq>>,
}

impl Fate {
    pub(crate) fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    async fn meet(&self) -> Result<(), StoreError> {
        let state = self.state.load(Ordering::SeqCst);
        if state == State::Well as u8 {
            return Ok(());
        }
        if state == State::Hangs as u8 {
            sleep(Duration::from_secs(2)).await;
        }
        Err(StoreError::Transient("made by the test".into()))
    }
}

/// The store under that fate.
pub(crate) struct FaultyStore {
    pub(crate) inner: SharedStore,
    pub(crate) fate: Arc<Fate>,
}

#[async_trait]
impl ChatStore for FaultyStore {
    async fn write(&self, rows: Vec<ConversationRows>) -> Result<(), StoreError> {
        self.fate.meet().await?;
        self.inner.write(rows).await
    }

    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError> {
        self.fate.meet().await?;
        let mut state = self.inner.conversation(conversation, as_of).await?;
        if self.fate.cursed.lock().unwrap().contains(&conversation) {
            state.place = u64::MAX;
        }
        Ok(state)
    }

    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError> {
        self.inner.settings(conversation, as_of).await
    }

    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        self.fate.meet().await?;
        if self.fate.garbled.lock().unwrap().contains(&conversation) {
            return Err(Malformed { table: "ids", column: "stands" }.into());
        }
        self.inner.ids_from(conversation, from_stamp_ms, as_of).await
    }

    async fn id(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<IdRow>, StoreError> {
        self.fate.meet().await?;
        self.inner.id(conversation, id, as_of).await
    }

    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        self.fate.meet().await?;
        self.inner.set_applied(source, applied).await
    }

    async fn applied(&self, source: Source) -> Result<Option<Applied>, StoreError> {
        self.fate.meet().await?;
        self.inner.applied(source).await
    }

    async fn wait_applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        self.fate.meet().await?;
        self.inner.wait_applied(source, seq, wait).await
    }

    async fn set_mark(&self, user: UserId, conversation: ConversationId, mark: Mark) -> Result<(), StoreError> {
        self.inner.set_mark(user, conversation, mark).await
    }
}

#[async_trait]
impl HoldStore for FaultyStore {
    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError> {
        self.fate.meet().await?;
        self.fate.hold_reads.fetch_add(1, Ordering::SeqCst);
        self.inner.hold(consumer, partition, conversation).await
    }

    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError> {
        self.fate.meet().await?;
        if consumer == Consumer::Storage {
            self.fate.steps.lock().unwrap().extend(hold.done_through);
        }
        self.inner.put_hold(consumer, partition, conversation, hold).await
    }

    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError> {
        self.fate.meet().await?;
        self.inner.holds(consumer, partition, after, limit).await
    }

    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError> {
        self.fate.meet().await?;
        self.inner.put_drop(partition, dropped).await
    }

    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError> {
        self.fate.meet().await?;
        self.inner.drops(partition).await
    }
}

#[async_trait]
impl StoreAdmin for FaultyStore {
    fn incarnation(&self) -> u32 {
        self.inner.incarnation()
    }

    async fn current_incarnation(&self) -> Result<u32, StoreError> {
        self.fate.meet().await?;
        self.inner.current_incarnation().await
    }

    async fn new_incarnation(&self) -> Result<u32, StoreError> {
        self.inner.new_incarnation().await
    }

    fn derived_tables(&self) -> Vec<&'static str> {
        self.inner.derived_tables()
    }

    async fn scan(&self, table: &str, after: Option<Vec<u8>>) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        self.inner.scan(table, after).await
    }

    async fn rows(&self, table: &str, keys: &[Vec<Value>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.inner.rows(table, keys).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// Consumers read back memberships alone.
#[async_trait]
impl HistoryStore for FaultyStore {
    async fn timeline(&self, _: ConversationId, _: Page) -> Result<Vec<Entry>, StoreError> {
        unreachable!()
    }

    async fn entry(&self, _: ConversationId, _: u64, _: Seq) -> Result<Option<Entry>, StoreError> {
        unreachable!()
    }

    async fn memberships(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<(Seq, Option<Role>)>, StoreError> {
        self.fate.meet().await?;
        self.inner.memberships(conversation, user).await
    }

    async fn members(
        &self,
        _: ConversationId,
        _: Seq,
        _: Option<UserId>,
        _: usize,
    ) -> Result<Vec<(UserId, Membership)>, StoreError> {
        unreachable!()
    }

    async fn conversations_of(
        &self,
        _: UserId,
        _: Option<ConversationId>,
        _: usize,
    ) -> Result<Vec<UserConversation>, StoreError> {
        unreachable!()
    }

    async fn user_conversation(&self, _: UserId, _: ConversationId) -> Result<Option<UserConversation>, StoreError> {
        unreachable!()
    }

    async fn heads(&self, _: &[ConversationId]) -> Result<Vec<Option<Head>>, StoreError> {
        unreachable!()
    }

    async fn marks(&self, _: UserId, _: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        unreachable!()
    }

    async fn sent(&self, _: UserId, _: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        unreachable!()
    }

    async fn inviters(&self, _: UserId, _: &[ConversationId]) -> Result<Vec<Option<UserId>>, StoreError> {
        unreachable!()
    }

    async fn deleted(&self, _: ConversationId, _: (Seq, Seq), _: Seq, _: usize) -> Result<usize, StoreError> {
        unreachable!()
    }

    async fn refusal(&self, _: ConversationId, _: UserId, _: CommandId) -> Result<Option<(Refusal, Seq)>, StoreError> {
        unreachable!()
    }
}

/// Nor has it accounts.
#[async_trait]
impl SessionStore for FaultyStore {
    async fn create_session(&self, _: &Session) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn session(&self, _: &[u8; 16]) -> Result<Option<Session>, StoreError> {
        unreachable!()
    }

    async fn rotate_session(&self, _: &[u8; 32], _: &Session) -> Result<bool, StoreError> {
        unreachable!()
    }

    async fn end_session(&self, _: UserId, _: &[u8; 16], _: i64) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn ended_sessions(&self, _: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        unreachable!()
    }

    async fn list_session(&self, _: UserId, _: &ListedSession) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn sessions_of(&self, _: UserId) -> Result<Vec<ListedSession>, StoreError> {
        unreachable!()
    }

    async fn cut_sessions(&self, _: UserId, _: i64) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn sessions_cut(&self, _: UserId) -> Result<Option<i64>, StoreError> {
        unreachable!()
    }
}

#[async_trait]
impl UserStore for FaultyStore {
    async fn create_account(&self, _: &Account, _: &OutboxRow) -> Result<AccountCreated, StoreError> {
        unreachable!()
    }

    async fn account(&self, _: UserId) -> Result<Option<Account>, StoreError> {
        unreachable!()
    }

    async fn accounts(&self, _: &[UserId]) -> Result<Vec<Option<Account>>, StoreError> {
        unreachable!()
    }

    async fn account_by_name(&self, _: &str) -> Result<Option<Account>, StoreError> {
        unreachable!()
    }

    async fn set_password(&self, _: UserId, _: &str, _: &str) -> Result<bool, StoreError> {
        unreachable!()
    }

    async fn add_outbox(&self, _: &OutboxRow) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn outbox(&self, _: usize) -> Result<Vec<OutboxRow>, StoreError> {
        unreachable!()
    }

    async fn remove_outbox(&self, _: &[u8; 16]) -> Result<(), StoreError> {
        unreachable!()
    }
}

#[async_trait]
impl IncarnationStore for FaultyStore {
    async fn incarnations(&self) -> Result<Incarnations, StoreError> {
        self.fate.meet().await?;
        self.inner.incarnations().await
    }

    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        let inner = self.inner.at(incarnation).await?;
        Ok(Arc::new(Self { inner, fate: Arc::clone(&self.fate) }))
    }

    async fn make_incarnation(&self) -> Result<u32, StoreError> {
        self.inner.make_incarnation().await
    }

    async fn switch_incarnation(&self, from: u32, to: u32) -> Result<bool, StoreError> {
        self.inner.switch_incarnation(from, to).await
    }

    async fn drop_incarnation(&self, incarnation: u32) -> Result<(), StoreError> {
        self.inner.drop_incarnation(incarnation).await
    }
}
