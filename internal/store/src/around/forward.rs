//! Implements the store's traits for every [`Around`].

use std::time::Duration;

use async_trait::async_trait;
use domain::{CommandId, ConversationId, ConversationState, IdRow, Membership, Refusal, Role, Seq, Settings, UserId};

use super::Around;
use crate::{
    Account, AccountCreated, Applied, CellWrites, ChatStore, Consumer, Dropped, Entry, Head, HistoryStore, Hold,
    HoldStore, IncarnationStore, Incarnations, ListedSession, Mark, OutboxRow, Page, Session, SessionStore,
    SharedStore, Source, StoreAdmin, StoreError, UserConversation, UserStore, Value,
};

#[async_trait]
impl<S: Around> ChatStore for S {
    async fn write(&self, writes: Vec<CellWrites>) -> Result<(), StoreError> {
        Around::write(self, writes).await
    }

    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError> {
        Around::conversation(self, conversation, as_of).await
    }

    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError> {
        Around::settings(self, conversation, as_of).await
    }

    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        Around::ids_from(self, conversation, from_stamp_ms, as_of).await
    }

    async fn id(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<IdRow>, StoreError> {
        Around::id(self, conversation, id, as_of).await
    }

    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        Around::set_applied(self, source, applied).await
    }

    async fn applied(&self, source: Source) -> Result<Option<Applied>, StoreError> {
        Around::applied(self, source).await
    }

    async fn wait_applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        Around::wait_applied(self, source, seq, wait).await
    }
}

#[async_trait]
impl<S: Around> HistoryStore for S {
    async fn timeline(&self, conversation: ConversationId, page: Page) -> Result<Vec<Entry>, StoreError> {
        Around::timeline(self, conversation, page).await
    }

    async fn entry(&self, conversation: ConversationId, slot: u64, seq: Seq) -> Result<Option<Entry>, StoreError> {
        Around::entry(self, conversation, slot, seq).await
    }

    async fn memberships(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<(Seq, Option<Role>)>, StoreError> {
        Around::memberships(self, conversation, user).await
    }

    async fn members(
        &self,
        conversation: ConversationId,
        as_of: Seq,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, Membership)>, StoreError> {
        Around::members(self, conversation, as_of, after, limit).await
    }

    async fn conversations_of(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<UserConversation>, StoreError> {
        Around::conversations_of(self, user, after, limit).await
    }

    async fn user_conversation(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<UserConversation>, StoreError> {
        Around::user_conversation(self, user, conversation).await
    }

    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, StoreError> {
        Around::heads(self, conversations).await
    }

    async fn marks(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        Around::marks(self, user, conversations).await
    }

    async fn sent(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        Around::sent(self, user, conversations).await
    }

    async fn inviters(
        &self,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<UserId>>, StoreError> {
        Around::inviters(self, user, conversations).await
    }

    async fn deleted(
        &self,
        conversation: ConversationId,
        said: (Seq, Seq),
        as_of: Seq,
        limit: usize,
    ) -> Result<usize, StoreError> {
        Around::deleted(self, conversation, said, as_of, limit).await
    }

    async fn refusal(
        &self,
        conversation: ConversationId,
        author: UserId,
        id: CommandId,
    ) -> Result<Option<(Refusal, Seq)>, StoreError> {
        Around::refusal(self, conversation, author, id).await
    }
}

#[async_trait]
impl<S: Around> HoldStore for S {
    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError> {
        Around::hold(self, consumer, partition, conversation).await
    }

    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError> {
        Around::put_hold(self, consumer, partition, conversation, hold).await
    }

    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError> {
        Around::holds(self, consumer, partition, after, limit).await
    }

    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError> {
        Around::put_drop(self, partition, dropped).await
    }

    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError> {
        Around::drops(self, partition).await
    }
}

#[async_trait]
impl<S: Around> SessionStore for S {
    async fn create_session(&self, session: &Session) -> Result<(), StoreError> {
        Around::create_session(self, session).await
    }

    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError> {
        Around::session(self, id).await
    }

    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError> {
        Around::rotate_session(self, expected, session).await
    }

    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError> {
        Around::end_session(self, user, id, now_ms).await
    }

    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        Around::ended_sessions(self, bucket).await
    }

    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError> {
        Around::list_session(self, user, row).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError> {
        Around::sessions_of(self, user).await
    }

    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError> {
        Around::cut_sessions(self, user, at_ms).await
    }

    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError> {
        Around::sessions_cut(self, user).await
    }
}

#[async_trait]
impl<S: Around> UserStore for S {
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError> {
        Around::create_account(self, account, event).await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        Around::account(self, id).await
    }

    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError> {
        Around::accounts(self, ids).await
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        Around::account_by_name(self, name).await
    }

    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError> {
        Around::set_password(self, user, expected, hash).await
    }

    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError> {
        Around::add_outbox(self, event).await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        Around::outbox(self, limit).await
    }

    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError> {
        Around::remove_outbox(self, id).await
    }
}

#[async_trait]
impl<S: Around> StoreAdmin for S {
    fn incarnation(&self) -> u32 {
        Around::incarnation(self)
    }

    async fn current_incarnation(&self) -> Result<u32, StoreError> {
        Around::current_incarnation(self).await
    }

    async fn new_incarnation(&self) -> Result<u32, StoreError> {
        Around::new_incarnation(self).await
    }

    fn derived_tables(&self) -> Vec<&'static str> {
        Around::derived_tables(self)
    }

    async fn scan(&self, table: &str, after: Option<Vec<u8>>) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        Around::scan(self, table, after).await
    }

    async fn rows(&self, table: &str, keys: &[Vec<Value>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        Around::rows(self, table, keys).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Around::ping(self).await
    }

    async fn close(&self) {
        Around::close(self).await;
    }
}

#[async_trait]
impl<S: Around> IncarnationStore for S {
    async fn incarnations(&self) -> Result<Incarnations, StoreError> {
        Around::incarnations(self).await
    }

    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        Around::at(self, incarnation).await
    }

    async fn make_incarnation(&self) -> Result<u32, StoreError> {
        Around::make_incarnation(self).await
    }

    async fn switch_incarnation(&self, from: u32, to: u32) -> Result<bool, StoreError> {
        Around::switch_incarnation(self, from, to).await
    }

    async fn drop_incarnation(&self, incarnation: u32) -> Result<(), StoreError> {
        Around::drop_incarnation(self, incarnation).await
    }
}
