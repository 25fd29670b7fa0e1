//! Implements the store's traits for every [`StoreWrapper`].

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    CommandId, ConversationId, ConversationState, IdRow, Membership, Pin, Refusal, Role, Said, Seq, Settings, UserId,
};

use super::StoreWrapper;
use crate::{
    Account, AccountCreated, Applied, CellWrites, ChatStore, Consumer, Dropped, Entry, Head, HistoryStore, Hold,
    HoldStore, IncarnationStore, Incarnations, ListedSession, Mark, MentionOfAll, MessageVersion, OutboxRow, Page,
    Privacy, PrivacyUpdate, Session, SessionStore, SharedStore, Source, StoreAdmin, StoreError, ThreadMessage,
    UserConversation, UserStore, Value,
};

#[async_trait]
impl<S: StoreWrapper> ChatStore for S {
    async fn write(&self, writes: Vec<CellWrites>) -> Result<(), StoreError> {
        StoreWrapper::write(self, writes).await
    }

    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError> {
        StoreWrapper::conversation(self, conversation, as_of).await
    }

    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError> {
        StoreWrapper::settings(self, conversation, as_of).await
    }

    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        StoreWrapper::ids_from(self, conversation, from_stamp_ms, as_of).await
    }

    async fn id(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<IdRow>, StoreError> {
        StoreWrapper::id(self, conversation, id, as_of).await
    }

    async fn emojis(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Vec<String>, StoreError> {
        StoreWrapper::emojis(self, conversation, slot, message, as_of).await
    }

    async fn said(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Said, StoreError> {
        StoreWrapper::said(self, conversation, slot, message, as_of).await
    }

    async fn pins(&self, conversation: ConversationId, as_of: Seq) -> Result<Vec<Pin>, StoreError> {
        StoreWrapper::pins(self, conversation, as_of).await
    }

    async fn thread_length(&self, conversation: ConversationId, root: Seq, as_of: Seq) -> Result<u64, StoreError> {
        StoreWrapper::thread_length(self, conversation, root, as_of).await
    }

    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        StoreWrapper::set_applied(self, source, applied).await
    }

    async fn write_and_apply(
        &self,
        writes: Vec<CellWrites>,
        source: Source,
        applied: Applied,
    ) -> Result<(), StoreError> {
        StoreWrapper::write_and_apply(self, writes, source, applied).await
    }

    async fn applied(&self, source: Source) -> Result<Option<Applied>, StoreError> {
        StoreWrapper::applied(self, source).await
    }

    async fn wait_applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        StoreWrapper::wait_applied(self, source, seq, wait).await
    }
}

#[async_trait]
impl<S: StoreWrapper> HistoryStore for S {
    async fn timeline(&self, conversation: ConversationId, page: Page) -> Result<Vec<Entry>, StoreError> {
        StoreWrapper::timeline(self, conversation, page).await
    }

    async fn entry(&self, conversation: ConversationId, slot: u64, seq: Seq) -> Result<Option<Entry>, StoreError> {
        StoreWrapper::entry(self, conversation, slot, seq).await
    }

    async fn versions(
        &self,
        conversation: ConversationId,
        message: Seq,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MessageVersion>, StoreError> {
        StoreWrapper::versions(self, conversation, message, after, limit).await
    }

    async fn thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        page: Page,
        as_of: Seq,
    ) -> Result<Vec<ThreadMessage>, StoreError> {
        StoreWrapper::thread(self, conversation, root, page, as_of).await
    }

    async fn threads(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        StoreWrapper::threads(self, conversation, before, limit).await
    }

    async fn mentions(
        &self,
        user: UserId,
        conversation: ConversationId,
        page: Page,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        StoreWrapper::mentions(self, user, conversation, page).await
    }

    async fn mentions_of_all(&self, conversation: ConversationId, page: Page) -> Result<Vec<MentionOfAll>, StoreError> {
        StoreWrapper::mentions_of_all(self, conversation, page).await
    }

    async fn memberships(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<(Seq, Option<Role>)>, StoreError> {
        StoreWrapper::memberships(self, conversation, user).await
    }

    async fn members(
        &self,
        conversation: ConversationId,
        as_of: Seq,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, Membership)>, StoreError> {
        StoreWrapper::members(self, conversation, as_of, after, limit).await
    }

    async fn conversations_of(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<UserConversation>, StoreError> {
        StoreWrapper::conversations_of(self, user, after, limit).await
    }

    async fn user_conversation(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<UserConversation>, StoreError> {
        StoreWrapper::user_conversation(self, user, conversation).await
    }

    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, StoreError> {
        StoreWrapper::heads(self, conversations).await
    }

    async fn marks(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        StoreWrapper::marks(self, user, conversations).await
    }

    async fn sent(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        StoreWrapper::sent(self, user, conversations).await
    }

    async fn inviters(
        &self,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<UserId>>, StoreError> {
        StoreWrapper::inviters(self, user, conversations).await
    }

    async fn deleted(
        &self,
        conversation: ConversationId,
        said: (Seq, Seq),
        as_of: Seq,
        limit: usize,
    ) -> Result<usize, StoreError> {
        StoreWrapper::deleted(self, conversation, said, as_of, limit).await
    }

    async fn refusal(
        &self,
        conversation: ConversationId,
        author: UserId,
        id: CommandId,
    ) -> Result<Option<(Refusal, Seq)>, StoreError> {
        StoreWrapper::refusal(self, conversation, author, id).await
    }
}

#[async_trait]
impl<S: StoreWrapper> HoldStore for S {
    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError> {
        StoreWrapper::hold(self, consumer, partition, conversation).await
    }

    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError> {
        StoreWrapper::put_hold(self, consumer, partition, conversation, hold).await
    }

    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError> {
        StoreWrapper::holds(self, consumer, partition, after, limit).await
    }

    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError> {
        StoreWrapper::put_drop(self, partition, dropped).await
    }

    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError> {
        StoreWrapper::drops(self, partition).await
    }
}

#[async_trait]
impl<S: StoreWrapper> SessionStore for S {
    async fn create_session(&self, session: &Session) -> Result<(), StoreError> {
        StoreWrapper::create_session(self, session).await
    }

    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError> {
        StoreWrapper::session(self, id).await
    }

    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError> {
        StoreWrapper::rotate_session(self, expected, session).await
    }

    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError> {
        StoreWrapper::end_session(self, user, id, now_ms).await
    }

    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        StoreWrapper::ended_sessions(self, bucket).await
    }

    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError> {
        StoreWrapper::list_session(self, user, row).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError> {
        StoreWrapper::sessions_of(self, user).await
    }

    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError> {
        StoreWrapper::cut_sessions(self, user, at_ms).await
    }

    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError> {
        StoreWrapper::sessions_cut(self, user).await
    }
}

#[async_trait]
impl<S: StoreWrapper> UserStore for S {
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError> {
        StoreWrapper::create_account(self, account, event).await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        StoreWrapper::account(self, id).await
    }

    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError> {
        StoreWrapper::accounts(self, ids).await
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        StoreWrapper::account_by_name(self, name).await
    }

    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError> {
        StoreWrapper::set_password(self, user, expected, hash).await
    }

    async fn privacy(&self, user: UserId) -> Result<Privacy, StoreError> {
        StoreWrapper::privacy(self, user).await
    }

    async fn set_privacy(&self, user: UserId, change: PrivacyUpdate) -> Result<(), StoreError> {
        StoreWrapper::set_privacy(self, user, change).await
    }

    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError> {
        StoreWrapper::add_outbox(self, event).await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        StoreWrapper::outbox(self, limit).await
    }

    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError> {
        StoreWrapper::remove_outbox(self, id).await
    }
}

#[async_trait]
impl<S: StoreWrapper> StoreAdmin for S {
    fn incarnation(&self) -> u32 {
        StoreWrapper::incarnation(self)
    }

    async fn current_incarnation(&self) -> Result<u32, StoreError> {
        StoreWrapper::current_incarnation(self).await
    }

    async fn new_incarnation(&self) -> Result<u32, StoreError> {
        StoreWrapper::new_incarnation(self).await
    }

    fn derived_tables(&self) -> Vec<&'static str> {
        StoreWrapper::derived_tables(self)
    }

    async fn scan(&self, table: &str, after: Option<Vec<u8>>) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        StoreWrapper::scan(self, table, after).await
    }

    async fn rows(&self, table: &str, keys: &[Vec<Value>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        StoreWrapper::rows(self, table, keys).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        StoreWrapper::ping(self).await
    }

    async fn close(&self) {
        StoreWrapper::close(self).await;
    }
}

#[async_trait]
impl<S: StoreWrapper> IncarnationStore for S {
    async fn incarnations(&self) -> Result<Incarnations, StoreError> {
        StoreWrapper::incarnations(self).await
    }

    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        StoreWrapper::at(self, incarnation).await
    }

    async fn make_incarnation(&self) -> Result<u32, StoreError> {
        StoreWrapper::make_incarnation(self).await
    }

    async fn switch_incarnation(&self, from: u32, to: u32) -> Result<bool, StoreError> {
        StoreWrapper::switch_incarnation(self, from, to).await
    }

    async fn drop_incarnation(&self, incarnation: u32) -> Result<(), StoreError> {
        StoreWrapper::drop_incarnation(self, incarnation).await
    }
}
