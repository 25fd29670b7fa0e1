//! Events on their way: rows beside the rows that they speak of, until the relay has published them.

use std::sync::Arc;

use domain::UserId;
use events::{AccountEvent, UserEvent};
use host::{Clock, Entropy};
use runtime::TraceParent;
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
}

/// What an outbox row says, as JSON: the row may be written by one version of this program and read by another, with
/// another registry.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Payload {
    time_ms: i64,
    trace: String,
    what: What,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Registered { name: String, display_name: String },
    SessionStarted,
    SessionEnded,
}

impl Outbox {
    pub(crate) fn new(store: Arc<dyn UserStore>, clock: Clock, entropy: Entropy) -> Self {
        Self { store, clock, entropy, wake: Arc::default() }
    }

    /// A row for an event of that account, not written yet.
    pub(crate) fn row(&self, account: &Account, what: &AccountEvent, trace: TraceParent) -> OutboxRow {
        self.row_of(account.id, &account.name, what, trace)
    }

    fn row_of(&self, user: UserId, name: &str, what: &AccountEvent, trace: TraceParent) -> OutboxRow {
        let what = match what {
            AccountEvent::Registered { name, display_name } => {
                What::Registered { name: name.clone(), display_name: display_name.clone() }
            }
            AccountEvent::SessionStarted => What::SessionStarted,
            AccountEvent::SessionEnded => What::SessionEnded,
        };
        let payload = Payload { time_ms: self.clock.now_ms(), trace: trace.to_string(), what };
        OutboxRow {
            id: self.entropy.uuid_v7(&self.clock).into_bytes(),
            user,
            account_name: name.to_owned(),
            payload: serde_json::to_vec(&payload).expect("the payload has text keys only"),
        }
    }

    /// Writes an event of that account. From here on it will be published.
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

    /// There is something to publish.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for [`Self::wake`].
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// The event that a row speaks of, and its trace.
pub(crate) fn read(row: &OutboxRow) -> Result<(UserEvent, String), serde_json::Error> {
    let payload: Payload = serde_json::from_slice(&row.payload)?;
    let what = match payload.what {
        What::Registered { name, display_name } => AccountEvent::Registered { name, display_name },
        What::SessionStarted => AccountEvent::SessionStarted,
        What::SessionEnded => AccountEvent::SessionEnded,
    };
    let event = UserEvent { id: Uuid::from_bytes(row.id), user: row.user, time_ms: payload.time_ms, what };
    Ok((event, payload.trace))
}
