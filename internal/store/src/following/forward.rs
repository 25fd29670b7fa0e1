//! Forwards every call: rows derived from the log to the current handle, all others to the handle that it began
//! with.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    CommandId, ConversationId, ConversationState, IdRow, Membership, Pin, Refusal, Role, Said, Seq, Settings, UserId,
};

use super::Following;
use crate::{
    Account, AccountCreated, Applied, CellWrites, ChatStore, Consumer, Dropped, Entry, Head, HistoryStore, Hold,
    HoldStore, IncarnationStore, Incarnations, ListedSession, Mark, MentionOfAll, MessageVersion, OutboxRow, Page,
    Privacy, PrivacyUpdate, Session, SessionStore, SharedStore, Source, StoreAdmin, StoreError, ThreadMessage,
    UserConversation, UserStore, Value,
};

#[async_trait]
impl ChatStore for Following {
    async fn write(&self, writes: Vec<CellWrites>) -> Result<(), StoreError> {
        self.store().write(writes).await
    }

    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError> {
        self.store().conversation(conversation, as_of).await
    }

    async fn settings(&self, conversation: ConversationId, as_of: Seq) -> Result<Option<Settings>, StoreError> {
        self.store().settings(conversation, as_of).await
    }

    async fn ids_from(
        &self,
        conversation: ConversationId,
        from_stamp_ms: i64,
        as_of: Seq,
    ) -> Result<Vec<(CommandId, IdRow)>, StoreError> {
        self.store().ids_from(conversation, from_stamp_ms, as_of).await
    }

    async fn id(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<IdRow>, StoreError> {
        self.store().id(conversation, id, as_of).await
    }

    async fn emojis(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Vec<String>, StoreError> {
        self.store().emojis(conversation, slot, message, as_of).await
    }

    async fn said(
        &self,
        conversation: ConversationId,
        slot: u64,
        message: Seq,
        as_of: Seq,
    ) -> Result<Said, StoreError> {
        self.store().said(conversation, slot, message, as_of).await
    }

    async fn pins(&self, conversation: ConversationId, as_of: Seq) -> Result<Vec<Pin>, StoreError> {
        self.store().pins(conversation, as_of).await
    }

    async fn thread_length(&self, conversation: ConversationId, root: Seq, as_of: Seq) -> Result<u64, StoreError> {
        self.store().thread_length(conversation, root, as_of).await
    }

    async fn set_applied(&self, source: Source, applied: Applied) -> Result<(), StoreError> {
        self.store().set_applied(source, applied).await
    }

    async fn write_and_apply(
        &self,
        writes: Vec<CellWrites>,
        source: Source,
        applied: Applied,
    ) -> Result<(), StoreError> {
        self.store().write_and_apply(writes, source, applied).await
    }

    async fn applied(&self, source: Source) -> Result<Option<Applied>, StoreError> {
        loop {
            let pin = self.pin();
            let applied = pin.store.applied(source).await?;
            if applied.is_none_or(|applied| self.shared.vouch(&pin, source, applied.seq)) {
                return Ok(applied);
            }
        }
    }

    async fn wait_applied(&self, source: Source, seq: Seq, wait: Duration) -> Result<bool, StoreError> {
        self.wait(source, seq, wait).await
    }
}

#[async_trait]
impl HistoryStore for Following {
    async fn timeline(&self, conversation: ConversationId, page: Page) -> Result<Vec<Entry>, StoreError> {
        self.store().timeline(conversation, page).await
    }

    async fn entry(&self, conversation: ConversationId, slot: u64, seq: Seq) -> Result<Option<Entry>, StoreError> {
        self.store().entry(conversation, slot, seq).await
    }

    async fn versions(
        &self,
        conversation: ConversationId,
        message: Seq,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<MessageVersion>, StoreError> {
        self.store().versions(conversation, message, after, limit).await
    }

    async fn thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        page: Page,
        as_of: Seq,
    ) -> Result<Vec<ThreadMessage>, StoreError> {
        self.store().thread(conversation, root, page, as_of).await
    }

    async fn threads(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        self.store().threads(conversation, before, limit).await
    }

    async fn mentions(
        &self,
        user: UserId,
        conversation: ConversationId,
        page: Page,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        self.store().mentions(user, conversation, page).await
    }

    async fn mentions_of_all(&self, conversation: ConversationId, page: Page) -> Result<Vec<MentionOfAll>, StoreError> {
        self.store().mentions_of_all(conversation, page).await
    }

    async fn memberships(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<(Seq, Option<Role>)>, StoreError> {
        self.store().memberships(conversation, user).await
    }

    async fn members(
        &self,
        conversation: ConversationId,
        as_of: Seq,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(UserId, Membership)>, StoreError> {
        self.store().members(conversation, as_of, after, limit).await
    }

    async fn conversations_of(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<UserConversation>, StoreError> {
        self.store().conversations_of(user, after, limit).await
    }

    async fn user_conversation(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<UserConversation>, StoreError> {
        self.store().user_conversation(user, conversation).await
    }

    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, StoreError> {
        self.store().heads(conversations).await
    }

    async fn marks(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        self.store().marks(user, conversations).await
    }

    async fn sent(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<Option<Mark>>, StoreError> {
        self.store().sent(user, conversations).await
    }

    async fn inviters(
        &self,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<UserId>>, StoreError> {
        self.store().inviters(user, conversations).await
    }

    async fn deleted(
        &self,
        conversation: ConversationId,
        said: (Seq, Seq),
        as_of: Seq,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.store().deleted(conversation, said, as_of, limit).await
    }

    async fn refusal(
        &self,
        conversation: ConversationId,
        author: UserId,
        id: CommandId,
    ) -> Result<Option<(Refusal, Seq)>, StoreError> {
        self.store().refusal(conversation, author, id).await
    }
}

#[async_trait]
impl HoldStore for Following {
    async fn hold(&self, consumer: Consumer, partition: u32, conversation: ConversationId) -> Result<Hold, StoreError> {
        self.store().hold(consumer, partition, conversation).await
    }

    async fn put_hold(
        &self,
        consumer: Consumer,
        partition: u32,
        conversation: ConversationId,
        hold: Hold,
    ) -> Result<(), StoreError> {
        self.store().put_hold(consumer, partition, conversation, hold).await
    }

    async fn holds(
        &self,
        consumer: Consumer,
        partition: u32,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Hold)>, StoreError> {
        self.store().holds(consumer, partition, after, limit).await
    }

    async fn put_drop(&self, partition: u32, dropped: &Dropped) -> Result<(), StoreError> {
        self.store().put_drop(partition, dropped).await
    }

    async fn drops(&self, partition: u32) -> Result<Vec<Dropped>, StoreError> {
        self.store().drops(partition).await
    }
}

#[async_trait]
impl SessionStore for Following {
    async fn create_session(&self, session: &Session) -> Result<(), StoreError> {
        self.root().create_session(session).await
    }

    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError> {
        self.root().session(id).await
    }

    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError> {
        self.root().rotate_session(expected, session).await
    }

    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError> {
        self.root().end_session(user, id, now_ms).await
    }

    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        self.root().ended_sessions(bucket).await
    }

    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError> {
        self.root().list_session(user, row).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError> {
        self.root().sessions_of(user).await
    }

    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError> {
        self.root().cut_sessions(user, at_ms).await
    }

    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError> {
        self.root().sessions_cut(user).await
    }
}

#[async_trait]
impl UserStore for Following {
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError> {
        self.root().create_account(account, event).await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        self.root().account(id).await
    }

    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError> {
        self.root().accounts(ids).await
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.root().account_by_name(name).await
    }

    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError> {
        self.root().set_password(user, expected, hash).await
    }

    async fn privacy(&self, user: UserId) -> Result<Privacy, StoreError> {
        self.root().privacy(user).await
    }

    async fn set_privacy(&self, user: UserId, change: PrivacyUpdate) -> Result<(), StoreError> {
        self.root().set_privacy(user, change).await
    }

    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError> {
        self.root().add_outbox(event).await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.root().outbox(limit).await
    }

    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError> {
        self.root().remove_outbox(id).await
    }
}

#[async_trait]
impl StoreAdmin for Following {
    fn incarnation(&self) -> u32 {
        self.store().incarnation()
    }

    /// Calls the store, so that a store that does not answer is noticed; this handle is at the current incarnation
    /// or moves to it.
    async fn current_incarnation(&self) -> Result<u32, StoreError> {
        self.root().current_incarnation().await?;
        Ok(self.incarnation())
    }

    async fn new_incarnation(&self) -> Result<u32, StoreError> {
        self.root().new_incarnation().await
    }

    fn derived_tables(&self) -> Vec<&'static str> {
        self.root().derived_tables()
    }

    async fn scan(&self, table: &str, after: Option<Vec<u8>>) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        self.store().scan(table, after).await
    }

    async fn rows(&self, table: &str, keys: &[Vec<Value>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.store().rows(table, keys).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store().ping().await
    }

    async fn close(&self) {
        self.shut().await;
    }
}

#[async_trait]
impl IncarnationStore for Following {
    async fn incarnations(&self) -> Result<Incarnations, StoreError> {
        self.root().incarnations().await
    }

    /// A pinned handle, as from any other store: it does not follow.
    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        self.root().at(incarnation).await
    }

    async fn make_incarnation(&self) -> Result<u32, StoreError> {
        self.root().make_incarnation().await
    }

    async fn switch_incarnation(&self, from: u32, to: u32) -> Result<bool, StoreError> {
        self.root().switch_incarnation(from, to).await
    }

    async fn drop_incarnation(&self, incarnation: u32) -> Result<(), StoreError> {
        self.root().drop_incarnation(incarnation).await
    }
}
