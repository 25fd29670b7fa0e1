//! A store that is away, hangs, or has rows of a conversation that make judging it panic.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::{CommandId, ConversationId, ConversationState, IdRow, Seq};
use store::wrapper::StoreWrapper;
use store::{Consumer, Hold, Malformed, SharedStore, StoreError};
use tokio::time::sleep;

/// The state of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Well,
    /// Every call fails at once.
    Away,
    /// Every call fails after the driver's timeout.
    Hangs,
}

/// The faults that the test sets, and the calls that it sees.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    state: AtomicU8,
    /// Conversations whose counters stand at their highest: judging their next message panics.
    pub(crate) cursed: Mutex<BTreeSet<ConversationId>>,
    /// Conversations of which a row cannot be read.
    pub(crate) garbled: Mutex<BTreeSet<ConversationId>>,
    /// How often a hold was read.
    pub(crate) hold_reads: AtomicU64,
    /// How far storage wrote that held conversations are done.
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

/// The store with these faults.
pub(crate) struct FaultyStore {
    pub(crate) inner: SharedStore,
    pub(crate) fate: Arc<Fate>,
}

#[async_trait]
impl StoreWrapper for FaultyStore {
    fn inner(&self) -> SharedStore {
        self.inner.clone()
    }

    async fn each<T: Send, F: Future<Output = Result<T, StoreError>> + Send>(&self, call: F) -> Result<T, StoreError> {
        self.fate.meet().await?;
        call.await
    }

    async fn conversation(&self, conversation: ConversationId, as_of: Seq) -> Result<ConversationState, StoreError> {
        let mut state = self.each(self.inner.conversation(conversation, as_of)).await?;
        if self.fate.cursed.lock().unwrap().contains(&conversation) {
            state.slot = u64::MAX;
        }
        Ok(state)
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

    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        let inner = self.inner.at(incarnation).await?;
        Ok(Arc::new(Self { inner, fate: Arc::clone(&self.fate) }))
    }
}
