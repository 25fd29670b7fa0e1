//! The migration lease: only one migration runs at a time. Two that create the same table concurrently can create
//! it twice under one name.
//!
//! The lease expires by itself when its holder dies. It keeps migrations apart in practice; the compare-and-set
//! guarantees that no two of them make the same incarnation current.

use std::time::Duration;

use scylla::client::session::Session;
use store::StoreError;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::config::Keyspace;
use crate::cql::{plain, was_applied};

const SECONDS: u32 = 60;
/// Longer than the lease of a migration that died.
const WAIT_MAX: Duration = Duration::from_secs(SECONDS as u64 + 15);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The right to change tables, for a minute from the last renewal.
pub(crate) struct Lease<'a> {
    session: &'a Session,
    table: String,
    holder: Uuid,
}

impl<'a> Lease<'a> {
    /// Waits until the lease is free, and takes it.
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
                // The lease may have been taken by this call; otherwise the next attempt fails.
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

    /// Renews the lease; to be called before each step.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        let text =
            format!("UPDATE {} USING TTL {SECONDS} SET holder = ? WHERE scope = 'store' IF holder = ?", self.table);
        let renewed = self.session.query_unpaged(text, (self.holder, self.holder)).await.map_err(plain);
        if was_applied(renewed?)? { Ok(()) } else { Err(busy("this migration took too long and lost its turn")) }
    }

    /// Releases the lease. When that fails, the lease expires.
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
