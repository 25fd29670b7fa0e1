//! The store as a process meets it: slow, away, failing before or after the effect, writing later than it says.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::{CommandId, ConversationId, ConversationState, IdRow, Membership, Refusal, Role, Seq, Settings, UserId};
use store::{
    Account, AccountCreated, Applied, ChatStore, Consumer, ConversationRows, Dropped, Entry, Head, HistoryStore, Hold,
    HoldStore, IncarnationStore, Incarnations, ListedSession, Malformed, Mark, OutboxRow, Page, Phase, RowWrite,
    Session, SessionStore, SharedStore, Source, StoreAdmin, StoreError, UserConversation, UserStore, Value,
};
use tokio::time::sleep;

use crate::life::Life;

/// How long a request takes to fail while the store is away.
const AWAY: Duration = Duration::from_millis(200);
/// Between two parts of a write, at most.
const BETWEEN_PARTS: Duration = Duration::from_millis(80);
/// How much later a late write is done, in milliseconds.
const LATE_MS: u64 = 20_000;

/// The store for one life of a process.
pub(crate) struct SimStore {
    inner: SharedStore,
    life: Arc<Life>,
}

#[derive(Debug, thiserror::Error)]
#[error("made by the simulation: {0}")]
struct Made(&'static str);

fn failed(what: &'static str) -> StoreError {
    StoreError::Transient(Box::new(Made(what)))
}

impl SimStore {
    pub(crate) fn over(inner: SharedStore, life: Arc<Life>) -> SharedStore {
        Arc::new(Self { inner, life })
    }

    async fn read<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.before().await?;
        let outcome = call.await;
        self.life.gate().await;
        outcome
    }

    async fn write<T, F>(&self, call: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.before().await?;
        let (life, rates) = (&self.life, self.life.weather.rates());
        if life.chance(rates.store_late) {
            life.fault("store writes done later");
            let (weather, later) = (Arc::clone(&life.weather), Duration::from_millis(life.below(LATE_MS)));
            weather.begin_late();
            tokio::spawn(async move {
                sleep(later).await;
                let _ = call.await;
                weather.end_late();
            });
            return Err(failed("done later"));
        }
        let outcome = call.await;
        life.gate().await;
        if outcome.is_ok() && life.chance(rates.store_done) {
            life.fault("store writes done and answered with an error");
            return Err(failed("done"));
        }
        outcome
    }

    /// Fails while a row of the conversation is none of this program's.
    fn readable(&self, conversation: ConversationId) -> Result<(), StoreError> {
        if self.life.weather.is_garbled(conversation, self.life.kind) {
            self.life.fault("rows that cannot be read");
            return Err(Malformed { table: "ids", column: "stands" }.into());
        }
        Ok(())
    }

    async fn before(&self) -> Result<(), StoreError> {
        let (life, rates) = (&self.life, self.life.weather.rates());
        life.gate().await;
        life.delay(Duration::from_millis(rates.store_ms) + life.weather.slowness(life.kind)).await;
        life.gate().await;
        if life.weather.store_is_down() {
            life.trace.count("store calls during an outage");
            sleep(AWAY).await;
            life.gate().await;
            return Err(failed("away"));
        }
        if life.chance(rates.store_error) {
            life.fault("store errors without effect");
            return Err(failed("not done"));
        }
        Ok(())
    }
}

/// The rows of a write in parts that a store may write one after the other: of a phase in any order, phase after phase.
fn split(rows: &[ConversationRows], life: &Life) -> Vec<Vec<ConversationRows>> {
    let mut parts = Vec::new();
    for phase in [Phase::Rows, Phase::Ids, Phase::Heads] {
        let (mut some, mut others) = (Vec::new(), Vec::new());
        for ConversationRows { conversation, rows } in rows {
            let of_phase = rows.iter().filter(|write| write.row.phase() == phase).cloned();
            let (one, other): (Vec<RowWrite>, Vec<RowWrite>) = of_phase.partition(|_| life.below(2) == 0);
            some.push(ConversationRows { conversation: *conversation, rows: one });
            others.push(ConversationRows { conversation: *conversation, rows: other });
        }
        parts.extend([some, others]);
    }
    parts
}

async fn write_in_parts(
    store: SharedStore,
    life: Arc<Life>,
    parts: Vec<Vec<ConversationRows>>,
) -> Result<(), StoreError> {
    for part in parts {
        if part.iter().any(|rows| !rows.rows.is_empty()) {
            store.write(part).await?;
            life.delay(BETWEEN_PARTS).await;
            // Who has died in between writes no other part. Not at the gate alone, which lets the dead never through: where
            // the write takes effect later, somebody waits for its end.
            tokio::select! {
                biased;
                () = life.gate() => {}
                () = life.died() => return Ok(()),
            }
        }
    }
    Ok(())
}

#[async_trait]
impl ChatStore for SimStore {
    async fn write(&self, rows: Vec<ConversationRows>) -> Result<(), StoreError> {
        let (inner, life) = (Arc::clone(&self.inner), Arc::clone(&self.life));
        if life.chance(life.weather.rates().store_split) {
            life.fault("store writes done in two parts");
            let parts = split(&rows, &life);
            return self.write(async move { write_in_parts(inner, life, parts).await }).await;
        }
        self.write(async move { inner.write(rows).await }).await
    }

    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError> {
        self.read(self.inner.conversation(conversation, as_of)).await
    }

    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError> {
        self.read(self.inner.settings(conversation, as_of)).await
    }

    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        self.readable(conversation)?;
        self.read(self.inner.ids_from(conversation, from_stamp_ms, as_of)).await
    }

    async fn id(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<IdRow>, StoreError> {
        self.read(self.inner.id(conversation, id, as_of)).await
    }

    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.write(async move { inner.set_applied(source, applied).await }).await
    }

    async fn applied(&self, source: Source) -> Result<Option<Applied>, StoreError> {
        self.read(self.inner.applied(source)).await
    }

    async fn wait_applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        self.read(self.inner.wait_applied(source, seq, wait)).await
    }

    async fn set_mark(&self, user: UserId, conversation: ConversationId, mark: Mark) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.write(async move { inner.set_mark(user, conversation, mark).await }).await
    }
}

#[async_trait]
impl HistoryStore for SimStore {
    async fn timeline(&self, conversation: ConversationId, page: Page) -> Result<Vec<Entry>, StoreError> {
        self.read(self.inner.timeline(conversation, page)).await
    }

    async fn entry(&self, conversation: ConversationId, place: u64, seq: Seq) -> Result<Option<Entry>, StoreError> {
        self.read(self.inner.entry(conversation, place, seq)).await
    }

    async fn memberships(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<(Seq, Option<Role>)>, StoreError> {
        self.read(self.inner.memberships(conversation, user)).await
    }

    async fn members(
        &self,
        conversation: ConversationId,
        as_of: Seq,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, Membership)>, StoreError> {
        self.read(self.inner.members(conversation, as_of, after, limit)).await
    }

    async fn conversations_of(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<UserConversation>, StoreError> {
        self.read(self.inner.conversations_of(user, after, limit)).await
    }

    async fn user_conversation(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<UserConversation>, StoreError> {
        self.read(self.inner.user_conversation(user, conversation)).await
    }

    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, StoreError> {
        self.read(self.inner.heads(conversations)).await
    }

    async fn marks(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        self.read(self.inner.marks(user, conversations)).await
    }

    async fn sent(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        self.read(self.inner.sent(user, conversations)).await
    }

    async fn inviters(
        &self,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<UserId>>, StoreError> {
        self.read(self.inner.inviters(user, conversations)).await
    }

    async fn deleted(
        &self,
        conversation: ConversationId,
        said: (Seq, Seq),
        as_of: Seq,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.read(self.inner.deleted(conversation, said, as_of, limit)).await
    }

    async fn refusal(
        &self,
        conversation: ConversationId,
        author: UserId,
        id: CommandId,
    ) -> Result<Option<(Refusal, Seq)>, StoreError> {
        self.read(self.inner.refusal(conversation, author, id)).await
    }
}

#[async_trait]
impl HoldStore for SimStore {
    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError> {
        self.read(self.inner.hold(consumer, partition, conversation)).await
    }

    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.write(async move { inner.put_hold(consumer, partition, conversation, hold).await }).await
    }

    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError> {
        self.read(self.inner.holds(consumer, partition, after, limit)).await
    }

    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError> {
        let (inner, dropped) = (Arc::clone(&self.inner), dropped.clone());
        self.write(async move { inner.put_drop(partition, &dropped).await }).await
    }

    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError> {
        self.read(self.inner.drops(partition)).await
    }
}

/// Accounts are made beside the simulation: of these, only the look-up of those whom a command names is called.
#[async_trait]
impl SessionStore for SimStore {
    async fn create_session(&self, session: &Session) -> Result<(), StoreError> {
        self.inner.create_session(session).await
    }

    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError> {
        self.inner.session(id).await
    }

    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError> {
        self.inner.rotate_session(expected, session).await
    }

    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError> {
        self.inner.end_session(user, id, now_ms).await
    }

    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        self.inner.ended_sessions(bucket).await
    }

    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError> {
        self.inner.list_session(user, row).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError> {
        self.inner.sessions_of(user).await
    }

    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError> {
        self.inner.cut_sessions(user, at_ms).await
    }

    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError> {
        self.inner.sessions_cut(user).await
    }
}

#[async_trait]
impl UserStore for SimStore {
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError> {
        self.inner.create_account(account, event).await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        self.inner.account(id).await
    }

    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError> {
        self.read(self.inner.accounts(ids)).await
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.inner.account_by_name(name).await
    }

    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError> {
        self.inner.set_password(user, expected, hash).await
    }

    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError> {
        self.inner.add_outbox(event).await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.inner.outbox(limit).await
    }

    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError> {
        self.inner.remove_outbox(id).await
    }
}

#[async_trait]
impl StoreAdmin for SimStore {
    fn incarnation(&self) -> u32 {
        self.inner.incarnation()
    }

    async fn current_incarnation(&self) -> Result<u32, StoreError> {
        self.read(self.inner.current_incarnation()).await
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
        self.read(self.inner.ping()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl IncarnationStore for SimStore {
    async fn incarnations(&self) -> Result<Incarnations, StoreError> {
        self.read(self.inner.incarnations()).await
    }

    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        let inner = self.read(self.inner.at(incarnation)).await?;
        Ok(Self::over(inner, Arc::clone(&self.life)))
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
