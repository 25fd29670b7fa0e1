//! Noticing that another incarnation is current.

use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use environment::ErrorKind;

use crate::{StoreAdmin, StoreError};

/// How often is looked. A switch is noticed within this time by who has nothing to read or write.
const EVERY: Duration = Duration::from_secs(1);

/// Returns when another incarnation than the handle's is current: who works with the handle has to begin again with
/// another one. Every program waits for this beside its work, or it would not notice while it has nothing to read or
/// write. A [`crate::Following`] handle is never behind, so with one this never returns.
pub async fn replaced<S: StoreAdmin + ?Sized>(store: &S) -> StoreError {
    loop {
        tokio::time::sleep(EVERY).await;
        // Other errors are reported by those who use the store.
        if let Err(error) = still_current(store).await
            && error.kind() == ErrorKind::Superseded
        {
            return error;
        }
    }
}

/// Looks whether the handle's incarnation is the current one.
///
/// # Errors
/// [`StoreError::Incarnation`] when it is not; otherwise when the store cannot be asked.
pub async fn still_current<S: StoreAdmin + ?Sized>(store: &S) -> Result<(), StoreError> {
    let pinned = store.incarnation();
    let found = store.current_incarnation().await?;
    // A handle that follows may have moved during the question.
    if found == pinned || store.incarnation() != pinned {
        Ok(())
    } else {
        Err(StoreError::Incarnation { pinned, found })
    }
}

/// Whether work ended because another incarnation became current: the error, or one of its causes, says so.
#[must_use]
pub fn is_of_another_incarnation(ended: &(dyn Error + 'static)) -> bool {
    successors(Some(ended), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<StoreError>())
        .any(|error| error.kind() == ErrorKind::Superseded)
}
