//! A wrapper around a store, for tests: the test overrides the calls that shall fail, all others go to the inner
//! store.

mod forward;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use domain::{
    CommandId, ConversationId, ConversationState, IdRow, Membership, Pin, Refusal, Role, Said, Seq, Settings, UserId,
};

use crate::{
    Account, AccountCreated, Applied, CellWrites, Consumer, Dropped, Entry, Head, Hold, Incarnations, ListedSession,
    Mark, MentionOfAll, MessageVersion, OutboxRow, Page, Privacy, PrivacyUpdate, Session, SharedStore, Source,
    StoreError, ThreadMessage, UserConversation, Value,
};

/// A type that implements this trait is a [`crate::Store`]. Each method that it does not override calls the inner
/// store.
#[async_trait]
#[expect(missing_docs, reason = "the same calls, with the same meaning")]
pub trait StoreWrapper: Send + Sync + 'static {
    /// The store that is wrapped.
    fn inner(&self) -> SharedStore;

    /// Runs every call that is not overridden; override it to make all of them fail.
    async fn each<T: Send, F: Future<Output = Result<T, StoreError>> + Send>(&self, call: F) -> Result<T, StoreError> {
        call.await
    }

    async fn write(&self, writes: Vec<CellWrites>) -> Result<(), StoreError> {
        self.each(self.inner().write(writes)).await
    }

    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError> {
        self.each(self.inner().conversation(conversation, as_of)).await
    }

    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError> {
        self.each(self.inner().settings(conversation, as_of)).await
    }

    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        self.each(self.inner().ids_from(conversation, from_stamp_ms, as_of)).await
    }

    async fn id(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<IdRow>, StoreError> {
        self.each(self.inner().id(conversation, id, as_of)).await
    }

    async fn emojis(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Vec<String>, StoreError> {
        self.each(self.inner().emojis(conversation, slot, message, as_of)).await
    }

    async fn said(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Said, StoreError> {
        self.each(self.inner().said(conversation, slot, message, as_of)).await
    }

    async fn pins(&self, conversation: ConversationId, as_of: Seq) -> Result<Vec<Pin>, StoreError> {
        self.each(self.inner().pins(conversation, as_of)).await
    }

    async fn thread_length(&self, conversation: ConversationId, root: Seq, as_of: Seq) -> Result<u64, StoreError> {
        self.each(self.inner().thread_length(conversation, root, as_of)).await
    }

    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        self.each(self.inner().set_applied(source, applied)).await
    }

    /// Who overrides `write` or `set_applied` overrides this, too: storage calls it for most batches.
    async fn write_and_apply(
        &self,
        writes: Vec<CellWrites>,
        source: Source,
        applied: Applied,
    ) -> Result<(), StoreError> {
        self.each(self.inner().write_and_apply(writes, source, applied)).await
    }

    async fn applied(&self, source: Source) -> Result<Option<Applied>, StoreError> {
        self.each(self.inner().applied(source)).await
    }

    async fn wait_applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        self.each(self.inner().wait_applied(source, seq, wait)).await
    }

    async fn timeline(&self, conversation: ConversationId, page: Page) -> Result<Vec<Entry>, StoreError> {
        self.each(self.inner().timeline(conversation, page)).await
    }

    async fn entry(&self, conversation: ConversationId, slot: u64, seq: Seq) -> Result<Option<Entry>, StoreError> {
        self.each(self.inner().entry(conversation, slot, seq)).await
    }

    async fn versions(
        &self,
        conversation: ConversationId,
        message: Seq,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MessageVersion>, StoreError> {
        self.each(self.inner().versions(conversation, message, after, limit)).await
    }

    async fn thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        page: Page,
        as_of: Seq,
    ) -> Result<Vec<ThreadMessage>, StoreError> {
        self.each(self.inner().thread(conversation, root, page, as_of)).await
    }

    async fn threads(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        self.each(self.inner().threads(conversation, before, limit)).await
    }

    async fn mentions(
        &self,
        user: UserId,
        conversation: ConversationId,
        page: Page,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        self.each(self.inner().mentions(user, conversation, page)).await
    }

    async fn mentions_of_all(&self, conversation: ConversationId, page: Page) -> Result<Vec<MentionOfAll>, StoreError> {
        self.each(self.inner().mentions_of_all(conversation, page)).await
    }

    async fn memberships(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<(Seq, Option<Role>)>, StoreError> {
        self.each(self.inner().memberships(conversation, user)).await
    }

    async fn members(
        &self,
        conversation: ConversationId,
        as_of: Seq,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, Membership)>, StoreError> {
        self.each(self.inner().members(conversation, as_of, after, limit)).await
    }

    async fn conversations_of(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<UserConversation>, StoreError> {
        self.each(self.inner().conversations_of(user, after, limit)).await
    }

    async fn user_conversation(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<UserConversation>, StoreError> {
        self.each(self.inner().user_conversation(user, conversation)).await
    }

    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, StoreError> {
        self.each(self.inner().heads(conversations)).await
    }

    async fn marks(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        self.each(self.inner().marks(user, conversations)).await
    }

    async fn sent(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        self.each(self.inner().sent(user, conversations)).await
    }

    async fn inviters(
        &self,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<UserId>>, StoreError> {
        self.each(self.inner().inviters(user, conversations)).await
    }

    async fn deleted(
        &self,
        conversation: ConversationId,
        said: (Seq, Seq),
        as_of: Seq,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.each(self.inner().deleted(conversation, said, as_of, limit)).await
    }

    async fn refusal(
        &self,
        conversation: ConversationId,
        author: UserId,
        id: CommandId,
    ) -> Result<Option<(Refusal, Seq)>, StoreError> {
        self.each(self.inner().refusal(conversation, author, id)).await
    }

    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError> {
        self.each(self.inner().hold(consumer, partition, conversation)).await
    }

    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError> {
        self.each(self.inner().put_hold(consumer, partition, conversation, hold)).await
    }

    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError> {
        self.each(self.inner().holds(consumer, partition, after, limit)).await
    }

    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError> {
        self.each(self.inner().put_drop(partition, dropped)).await
    }

    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError> {
        self.each(self.inner().drops(partition)).await
    }

    async fn create_session(&self, session: &Session) -> Result<(), StoreError> {
        self.each(self.inner().create_session(session)).await
    }

    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError> {
        self.each(self.inner().session(id)).await
    }

    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError> {
        self.each(self.inner().rotate_session(expected, session)).await
    }

    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError> {
        self.each(self.inner().end_session(user, id, now_ms)).await
    }

    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        self.each(self.inner().ended_sessions(bucket)).await
    }

    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError> {
        self.each(self.inner().list_session(user, row)).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError> {
        self.each(self.inner().sessions_of(user)).await
    }

    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError> {
        self.each(self.inner().cut_sessions(user, at_ms)).await
    }

    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError> {
        self.each(self.inner().sessions_cut(user)).await
    }

    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError> {
        self.each(self.inner().create_account(account, event)).await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        self.each(self.inner().account(id)).await
    }

    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError> {
        self.each(self.inner().accounts(ids)).await
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.each(self.inner().account_by_name(name)).await
    }

    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError> {
        self.each(self.inner().set_password(user, expected, hash)).await
    }

    async fn privacy(&self, user: UserId) -> Result<Privacy, StoreError> {
        self.each(self.inner().privacy(user)).await
    }

    async fn set_privacy(&self, user: UserId, change: PrivacyUpdate) -> Result<(), StoreError> {
        self.each(self.inner().set_privacy(user, change)).await
    }

    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError> {
        self.each(self.inner().add_outbox(event)).await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.each(self.inner().outbox(limit)).await
    }

    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError> {
        self.each(self.inner().remove_outbox(id)).await
    }

    fn incarnation(&self) -> u32 {
        self.inner().incarnation()
    }

    async fn current_incarnation(&self) -> Result<u32, StoreError> {
        self.each(self.inner().current_incarnation()).await
    }

    async fn new_incarnation(&self) -> Result<u32, StoreError> {
        self.each(self.inner().new_incarnation()).await
    }

    fn derived_tables(&self) -> Vec<&'static str> {
        self.inner().derived_tables()
    }

    async fn scan(&self, table: &str, after: Option<Vec<u8>>) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        self.each(self.inner().scan(table, after)).await
    }

    async fn rows(&self, table: &str, keys: &[Vec<Value>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.each(self.inner().rows(table, keys)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.each(self.inner().ping()).await
    }

    async fn close(&self) {
        self.inner().close().await;
    }

    async fn incarnations(&self) -> Result<Incarnations, StoreError> {
        self.each(self.inner().incarnations()).await
    }

    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        self.each(self.inner().at(incarnation)).await
    }

    async fn make_incarnation(&self) -> Result<u32, StoreError> {
        self.each(self.inner().make_incarnation()).await
    }

    async fn switch_incarnation(&self, from: u32, to: u32) -> Result<bool, StoreError> {
        self.each(self.inner().switch_incarnation(from, to)).await
    }

    async fn drop_incarnation(&self, incarnation: u32) -> Result<(), StoreError> {
        self.each(self.inner().drop_incarnation(incarnation)).await
    }
}
