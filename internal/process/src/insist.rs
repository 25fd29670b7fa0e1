//! Insisting: a call to a log or a store that may fail for a while is made until it goes through.

use std::fmt::Display;
use std::future::Future;

use environment::Entropy;
use tokio_util::sync::CancellationToken;

use crate::{Backoff, FaultLog};

/// Why insisting ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum Given<E> {
    /// The process is stopping.
    #[error("stopped while trying")]
    Stopped,
    /// An error that trying again does not mend.
    #[error(transparent)]
    Up(#[from] E),
}

/// Makes the call until it succeeds, fails in a way that `transient` denies, or `token` is cancelled. Waits between
/// the attempts with back-off and jitter, and logs what goes on at a bounded rate.
///
/// # Errors
/// [`Given::Stopped`] or [`Given::Up`] with the error that is not transient.
pub async fn insist<T, E, F, R>(
    what: &'static str,
    entropy: &Entropy,
    token: &CancellationToken,
    transient: fn(&E) -> bool,
    mut call: F,
) -> Result<T, Given<E>>
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
            () = token.cancelled() => return Err(Given::Stopped),
        };
        match outcome {
            Ok(value) => {
                faults.well();
                return Ok(value);
            }
            Err(error) if transient(&error) => faults.fault(&error),
            Err(error) => return Err(Given::Up(error)),
        };
        if !backoff.wait(token).await {
            return Err(Given::Stopped);
        }
    }
}
