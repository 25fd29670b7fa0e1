//! A log and a store that fail when they are told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use domain::UserId;
use eventlog::around::Around;
use eventlog::{AppendError, NewRecord, Receipt, SharedLog};
use store::{Account, AccountCreated, ListedSession, OutboxRow, Session, SessionStore, StoreError, UserStore};

/// What a call does instead of what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Refused,
    /// Everything, without saying so.
    Unanswered,
}

/// The faults of the next calls, one each.
pub(crate) type Faults = Arc<Mutex<VecDeque<Fault>>>;

fn next(faults: &Faults) -> Option<Fault> {
    faults.lock().unwrap().pop_front()
}

/// A log whose appends fail.
pub(crate) struct FaultyLog {
    pub(crate) log: SharedLog,
    pub(crate) appends: Faults,
}

#[async_trait]
impl Around for FaultyLog {
    fn inner(&self) -> SharedLog {
        self.log.clone()
    }

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<Receipt, AppendError> {
        match next(&self.appends) {
            None => self.log.enqueue(topic, record).await,
            Some(Fault::Refused) => Err(AppendError::Busy),
            Some(Fault::Unanswered) => {
                self.log.enqueue(topic, record).await?.await?;
                Err(AppendError::Unknown)
            }
        }
    }
}

/// A store whose creations and rotations fail.
pub(crate) struct FaultyStore {
    pub(crate) store: Arc<dyn UserStore>,
    pub(crate) creations: Faults,
    pub(crate) rotations: Faults,
}

fn unanswered() -> StoreError {
    StoreError::Transient("no answer in time".into())
}

#[async_trait]
impl SessionStore for FaultyStore {
    async fn create_session(&self, session: &Session) -> Result<(), StoreError> {
        self.store.create_session(session).await
    }

    async fn session(&self, id: &[u8; 16]) -> Result<Option<Session>, StoreError> {
        self.store.session(id).await
    }

    async fn rotate_session(&self, expected: &[u8; 32], session: &Session) -> Result<bool, StoreError> {
        match next(&self.rotations) {
            None => self.store.rotate_session(expected, session).await,
            Some(Fault::Refused) => Err(unanswered()),
            Some(Fault::Unanswered) => {
                self.store.rotate_session(expected, session).await?;
                Err(unanswered())
            }
        }
    }

    async fn end_session(&self, user: UserId, id: &[u8; 16], now_ms: i64) -> Result<(), StoreError> {
        self.store.end_session(user, id, now_ms).await
    }

    async fn ended_sessions(&self, bucket: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        self.store.ended_sessions(bucket).await
    }

    async fn list_session(&self, user: UserId, row: &ListedSession) -> Result<(), StoreError> {
        self.store.list_session(user, row).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError> {
        self.store.sessions_of(user).await
    }

    async fn cut_sessions(&self, user: UserId, at_ms: i64) -> Result<(), StoreError> {
        self.store.cut_sessions(user, at_ms).await
    }

    async fn sessions_cut(&self, user: UserId) -> Result<Option<i64>, StoreError> {
        self.store.sessions_cut(user).await
    }
}

#[async_trait]
impl UserStore for FaultyStore {
    async fn create_account(&self, account: &Account, event: &OutboxRow) -> Result<AccountCreated, StoreError> {
        match next(&self.creations) {
            None => self.store.create_account(account, event).await,
            Some(Fault::Refused) => Err(unanswered()),
            Some(Fault::Unanswered) => {
                self.store.create_account(account, event).await?;
                Err(unanswered())
            }
        }
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        self.store.account(id).await
    }

    async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Option<Account>>, StoreError> {
        self.store.accounts(ids).await
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.store.account_by_name(name).await
    }

    async fn set_password(&self, user: UserId, expected: &str, hash: &str) -> Result<bool, StoreError> {
        self.store.set_password(user, expected, hash).await
    }

    async fn add_outbox(&self, event: &OutboxRow) -> Result<(), StoreError> {
        self.store.add_outbox(event).await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.store.outbox(limit).await
    }

    async fn remove_outbox(&self, id: &[u8; 16]) -> Result<(), StoreError> {
        self.store.remove_outbox(id).await
    }
}
