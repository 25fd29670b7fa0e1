//! Detects that another incarnation has become current.

use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use environment::ErrorKind;

use crate::{StoreAdmin, StoreError};

/// The interval of the checks: a program that has nothing to read or write notices a switch within this time.
const EVERY: Duration = Duration::from_secs(1);

/// Returns when the handle's incarnation is no longer current: then the program has to start again with another
/// handle. Every program awaits this beside its work, because without reads or writes it would not notice a
/// switch. A [`crate::Following`] handle follows the switch, so with one this never returns.
pub async fn replaced<S: StoreAdmin + ?Sized>(store: &S) -> StoreError {
    loop {
        tokio::time::sleep(EVERY).await;
        // Other errors are reported by the calls that use the store.
        if let Err(error) = still_current(store).await
            && error.kind() == ErrorKind::Superseded
        {
            return error;
        }
    }
}

/// Checks whether the handle's incarnation is the current one.
///
/// # Errors
/// [`StoreError::Incarnation`] when it is not; another error when the store does not answer.
pub async fn still_current<S: StoreAdmin + ?Sized>(store: &S) -> Result<(), StoreError> {
    let pinned = store.incarnation();
    let found = store.current_incarnation().await?;
    // A handle that follows may have moved during the call.
    if found == pinned || store.incarnation() != pinned {
        Ok(())
    } else {
        Err(StoreError::Incarnation { pinned, found })
    }
}

/// Whether the error, or one of its causes, says that another incarnation became current.
#[must_use]
pub fn is_of_another_incarnation(ended: &(dyn Error + 'static)) -> bool {
    successors(Some(ended), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<StoreError>())
        .any(|error| error.kind() == ErrorKind::Superseded)
}
