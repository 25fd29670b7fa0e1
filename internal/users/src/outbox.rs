//! The outbox: rows written together with the account or session that they tell of, kept until the relay has published
//! them as events.

use std::sync::{Arc, Mutex, PoisonError};

use environment::{Clock, Entropy};
use events::{AccountEvent, UserEvent};
use process::TraceParent;
use serde::{Deserialize, Serialize};
use store::{Account, OutboxRow, StoreError, UserStore};
use tokio::sync::Notify;
use uuid::Uuid;

/// Writes to the outbox and wakes the relay. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    store: Arc<dyn UserStore>,
    clock: Clock,
    entropy: Entropy,
    wake: Arc<Notify>,
    /// Timestamp and counter of the last row's id: rows of one process are ordered as they were made, whatever the
    /// clock does.
    last: Arc<Mutex<(i64, u16)>>,
}

/// The ids of one timestamp. Beyond that, the timestamp runs ahead of the clock.
const IDS_PER_STAMP: u16 = 1 << 12;

/// The content of an outbox row, as JSON: a row may be written by one version of this program and read by another, with
/// another registry.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Payload {
    time_ms: i64,
    trace: String,
    what: PayloadEvent,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PayloadEvent {
    Registered { name: String, display_name: String },
    SessionStarted,
    SessionEnded,
    PrivacyChanged,
}

impl Outbox {
    pub(crate) fn new(store: Arc<dyn UserStore>, clock: Clock, entropy: Entropy) -> Self {
        Self { store, clock, entropy, wake: Arc::default(), last: Arc::default() }
    }

    /// A row for an event of that account, not written yet.
    pub(crate) fn row(&self, account: &Account, what: &AccountEvent, trace: TraceParent) -> OutboxRow {
        let what = match what {
            AccountEvent::Registered { name, display_name } => {
                PayloadEvent::Registered { name: name.clone(), display_name: display_name.clone() }
            }
            AccountEvent::SessionStarted => PayloadEvent::SessionStarted,
            AccountEvent::SessionEnded => PayloadEvent::SessionEnded,
            AccountEvent::PrivacyChanged => PayloadEvent::PrivacyChanged,
        };
        let payload = Payload { time_ms: self.clock.now_ms(), trace: trace.to_string(), what };
        OutboxRow {
            id: self.next_id().into_bytes(),
            user: account.id,
            account_name: account.name.clone(),
            payload: serde_json::to_vec(&payload).expect("the payload has text keys only"),
        }
    }

    /// A UUIDv7 above the last one: its first random bits are a counter (RFC 9562, 6.2, method 1).
    fn next_id(&self) -> Uuid {
        let (stamp_ms, counter) = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = match (self.clock.now_ms(), last.0, last.1 + 1) {
                (now_ms, last_ms, _) if now_ms > last_ms => (now_ms, 0),
                (_, last_ms, IDS_PER_STAMP) => (last_ms + 1, 0),
                (_, last_ms, counter) => (last_ms, counter),
            };
            *last
        };
        let mut random = self.entropy.bytes::<10>();
        random[..2].copy_from_slice(&counter.to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(stamp_ms).unwrap_or(0), &random).into_uuid()
    }

    /// Writes an event of that account. Once this returns, the event will be published.
    pub(crate) async fn add(
        &self,
        account: &Account,
        what: &AccountEvent,
        trace: TraceParent,
    ) -> Result<(), StoreError> {
        self.store.add_outbox(&self.row(account, what, trace)).await?;
        self.wake();
        Ok(())
    }

    /// Wakes the relay: there is something to publish.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for [`Self::wake`].
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// The event of a row, and its trace.
pub(crate) fn read(row: &OutboxRow) -> Result<(UserEvent, String), serde_json::Error> {
    let payload: Payload = serde_json::from_slice(&row.payload)?;
    let what = match payload.what {
        PayloadEvent::Registered { name, display_name } => AccountEvent::Registered { name, display_name },
        PayloadEvent::SessionStarted => AccountEvent::SessionStarted,
        PayloadEvent::SessionEnded => AccountEvent::SessionEnded,
        PayloadEvent::PrivacyChanged => AccountEvent::PrivacyChanged,
    };
    let event = UserEvent { id: Uuid::from_bytes(row.id), user: row.user, time_ms: payload.time_ms, what };
    Ok((event, payload.trace))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use store::embedded::EmbeddedStore;

    use super::*;

    #[tokio::test]
    async fn ids_ascend_whatever_the_clock_does() {
        let now = Arc::new(AtomicI64::new(1_750_000_000_000));
        let clock = Clock::manual(now.clone());
        let store = EmbeddedStore::open(kv::Database::in_memory(), clock.clone()).await.unwrap();
        let outbox = Outbox::new(store, clock, Entropy::seeded(1));
        let mut last = outbox.next_id();
        for step in 0..10_000 {
            now.fetch_add([0, 0, 0, 1, -5][step % 5], Ordering::SeqCst);
            let next = outbox.next_id();
            assert!(next > last && next.get_version_num() == 7);
            last = next;
        }
    }
}
