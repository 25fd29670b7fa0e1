//! Retries for the audit: an audit that follows the log must not end because a partition has no leader for some
//! seconds.

use std::future::Future;
use std::time::Duration;

use environment::Entropy;
use process::{Backoff, FaultLog};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Exit, OpsError};

/// How long a call is retried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(180);

/// Repeats the call until it succeeds, fails for good, or has failed for minutes.
///
/// # Errors
/// The error of the call; a transient one when it has failed for that long, or was still failing when `stop` was
/// cancelled.
pub(super) async fn retry<T, E, R>(stop: &CancellationToken, mut call: impl FnMut() -> R) -> Result<T, OpsError>
where
    R: Future<Output = Result<T, E>>,
    E: Into<OpsError>,
{
    let (begun, mut faults) = (Instant::now(), FaultLog::new("audit"));
    let mut backoff = Backoff::new(Entropy::system());
    loop {
        match call().await.map_err(Into::into) {
            Err(error) if error.exit() == Exit::Unavailable && begun.elapsed() < GIVE_UP_AFTER => {
                faults.fault(&error);
                if !backoff.wait(stop).await {
                    return Err(error);
                }
            }
            answered => return answered,
        }
    }
}
