//! Noticing that the store was emptied.

use std::time::Duration;

use crate::{StoreAdmin, StoreError};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(5);

/// Returns when the store is at another incarnation than the handle is pinned to: the program has to restart. Every
/// program waits for this beside its work, or it would not notice while it has nothing to read or write.
pub async fn replaced<S: StoreAdmin + ?Sized>(store: &S) -> StoreError {
    let pinned = store.incarnation();
    loop {
        tokio::time::sleep(EVERY).await;
        match store.current_incarnation().await {
            Ok(found) if found != pinned => return StoreError::Incarnation { pinned, found },
            Err(error @ StoreError::Incarnation { .. }) => return error,
            // Who works with the store tells of its troubles.
            Ok(_) | Err(_) => {}
        }
    }
}
