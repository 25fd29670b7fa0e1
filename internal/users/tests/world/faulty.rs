//! A log and a store that fail on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use eventlog::wrapper::LogWrapper;
use eventlog::{AppendError, AppendReceipt, NewRecord, SharedLog};
use store::{Account, AccountCreated, OutboxRow, Session, SharedStore, StoreError};

/// What a call does instead of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and changes nothing.
    Refused,
    /// It does its work, and the answer is lost.
    Unanswered,
}

/// The faults of the next calls, one for each.
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
impl LogWrapper for FaultyLog {
    fn inner(&self) -> SharedLog {
        self.log.clone()
    }

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
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
    pub(crate) store: SharedStore,
    pub(crate) creations: Faults,
    pub(crate) rotations: Faults,
}

fn unanswered() -> StoreError {
    StoreError::Transient("no answer in time".into())
}

#[async_trait]
impl store::wrapper::StoreWrapper for FaultyStore {
    fn inner(&self) -> SharedStore {
        self.store.clone()
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
}
