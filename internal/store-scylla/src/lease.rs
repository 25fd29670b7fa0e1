//! Only one migration at a time: two that create one table at the same time can leave it twice under one name.
//!
//! The lease runs out by itself when its holder dies. It keeps migrations apart in practice; that no two mint the same
//! incarnation is the compare-and-set's work.

use std::time::Duration;

use scylla::client::session::Session;
use store::StoreError;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::config::Keyspace;
use crate::cql::{plain, was_applied};

const SECONDS: u32 = 60;
/// Long enough for the lease of a migration that died.
const WAIT_MAX: Duration = Duration::from_secs(SECONDS as u64 + 15);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The right to change tables, for a minute from the last renewal.
pub(crate) struct Lease<'a> {
    session: &'a Session,
    table: String,
    holder: Uuid,
}

impl<'a> Lease<'a> {
    /// Waits for it.
    pub(crate) async fn take(session: &'a Session, keyspace: &Keyspace) -> Result<Self, StoreError> {
        let holder = session.session_id();
        let lease = Self { session, table: format!("{}.migration_lease", keyspace.name()), holder };
        let text = format!(
            "INSERT INTO {} (scope, holder) VALUES ('store', ?) IF NOT EXISTS USING TTL {SECONDS}",
            lease.table
        );
        let begun = Instant::now();
        loop {
            let taken = session.query_unpaged(text.as_str(), (holder,)).await.map_err(plain).and_then(was_applied);
            match taken {
                Ok(true) => return Ok(lease),
                Ok(false) if begun.elapsed() < WAIT_MAX => {}
                Ok(false) => return Err(busy("another migration is running")),
                // It may be ours now; if not, the next question says so.
                Err(StoreError::Transient(_)) if begun.elapsed() < WAIT_MAX => {
                    if lease.renew().await.is_ok() {
                        return Ok(lease);
                    }
                }
                Err(error) => return Err(error),
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Before each step.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        let text =
            format!("UPDATE {} USING TTL {SECONDS} SET holder = ? WHERE scope = 'store' IF holder = ?", self.table);
        let renewed = self.session.query_unpaged(text, (self.holder, self.holder)).await.map_err(plain);
        if was_applied(renewed?)? { Ok(()) } else { Err(busy("this migration took too long and lost its turn")) }
    }

    /// Gives it back. One that stays runs out.
    pub(crate) async fn give_back(self) {
        let text = format!("DELETE FROM {} WHERE scope = 'store' IF holder = ?", self.table);
        if let Err(error) = self.session.query_unpaged(text, (self.holder,)).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the migration lease runs out by itself");
        }
    }
}

fn busy(text: &str) -> StoreError {
    StoreError::Transient(text.into())
}
