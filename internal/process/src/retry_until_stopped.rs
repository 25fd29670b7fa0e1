//! Insisting: a call to a log or a store that may fail for a while is made until it goes through.

use std::fmt::Display;
use std::future::Future;

use environment::Entropy;
use tokio_util::sync::CancellationToken;

use crate::{Backoff, FaultLog};

/// Why insisting ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum RetryError<E> {
    /// The process is stopping.
    #[error("stopped while trying")]
    Stopped,
    /// An error that trying again does not mend.
    #[error(transparent)]
    Failed(#[from] E),
}

/// Makes the call until it succeeds, fails in a way that `transient` denies, or `token` is cancelled. Waits between
/// the attempts with back-off and jitter, and logs what goes on at a bounded rate.
///
/// # Errors
/// [`RetryError::Stopped`] or [`RetryError::Failed`] with the error that is not transient.
pub async fn retry_until_stopped<T, E, F, R>(
    what: &'static str,
    entropy: &Entropy,
    token: &CancellationToken,
    transient: fn(&E) -> bool,
    mut call: F,
) -> Result<T, RetryError<E>>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, E>>,
    E: Display,
{
    let (mut backoff, mut faults) = (Backoff::new(entropy.clone()), FaultLog::new(what));
    loop {
        let outcome = tokio::select! {
            biased;
            outcome = call() => outcome,
            () = token.cancelled() => return Err(RetryError::Stopped),
        };
        match outcome {
            Ok(value) => {
                faults.well();
                return Ok(value);
            }
            Err(error) if transient(&error) => faults.fault(&error),
            Err(error) => return Err(RetryError::Failed(error)),
        };
        if !backoff.wait(token).await {
            return Err(RetryError::Stopped);
        }
    }
}
