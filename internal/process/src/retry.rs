//! Trying again: back-off with jitter, a log that does not repeat itself, and work that is restarted until it succeeds.

use std::fmt::Display;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use environment::Entropy;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Condition;

/// The first wait is at most this long; each further one at most twice the one before.
pub const BACKOFF_BASE: Duration = Duration::from_millis(50);
/// No wait is longer than this.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// After work has run without an error for this long, the next wait is a first one again.
const STEADY_AFTER: Duration = Duration::from_secs(30);
/// A fault that goes on is logged this often.
const REPEAT_LOG_EVERY: Duration = Duration::from_secs(10);

/// The waits between attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    entropy: Entropy,
    base: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// Waits from [`BACKOFF_BASE`] up to [`BACKOFF_MAX`].
    #[must_use]
    pub fn new(entropy: Entropy) -> Self {
        Self::between(entropy, BACKOFF_BASE, BACKOFF_MAX)
    }

    /// Waits from `base` up to `max`.
    #[must_use]
    pub fn between(entropy: Entropy, base: Duration, max: Duration) -> Self {
        Self { entropy, base, max, attempt: 0 }
    }

    /// How long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.entropy.backoff(self.attempt, self.base, self.max);
        self.attempt = self.attempt.saturating_add(1);
        wait
    }

    /// The last attempt went well: the next wait is a first one.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Waits, unless `token` is cancelled first; returns whether to go on.
    pub async fn wait(&mut self, token: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = token.cancelled() => false,
            () = tokio::time::sleep(self.next_wait()) => true,
        }
    }
}

/// Logs a repeating fault at once, then at most every ten seconds with the number of times it came, and finally that it
/// has ended.
#[derive(Debug)]
pub struct FaultLog {
    what: &'static str,
    logged: Option<Instant>,
    unsaid: u64,
}

impl FaultLog {
    /// A log for faults of `what`.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self { what, logged: None, unsaid: 0 }
    }

    /// Notes a failure. Returns whether it was logged.
    pub fn fault(&mut self, error: &dyn Display) -> bool {
        let due = self.logged.is_none_or(|at| at.elapsed() >= REPEAT_LOG_EVERY);
        if due {
            tracing::warn!(what = self.what, error = %error, unsaid = self.unsaid, "failed: trying again");
            self.logged = Some(Instant::now());
            self.unsaid = 0;
        } else {
            self.unsaid += 1;
        }
        due
    }

    /// Notes a success, which ends the fault.
    pub fn well(&mut self) {
        if self.logged.take().is_some() {
            tracing::info!(what = self.what, unsaid = self.unsaid, "works again");
            self.unsaid = 0;
        }
    }
}

/// Returns a function to be called with the outcome of each attempt at `what`: it logs faults as [`FaultLog`] does, and
/// makes `condition` ready after the first success.
pub fn reporter<E: Display>(what: &'static str, condition: Condition) -> impl Fn(Result<(), &E>) + Send + Sync {
    let faults = Mutex::new(FaultLog::new(what));
    move |outcome| {
        let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => {
                faults.well();
                condition.ready();
            }
            Err(error) => {
                faults.fault(error);
            }
        }
    }
}

/// Runs `work` again and again, with back-off, until it ends well or `token` is cancelled.
///
/// Cancelling drops the attempt that is running: `work` must be safe to drop at any await.
pub async fn supervised<F, R, E>(what: &'static str, entropy: Entropy, token: &CancellationToken, mut work: F)
where
    F: FnMut() -> R,
    R: Future<Output = Result<(), E>>,
    E: Display,
{
    let (mut backoff, mut faults) = (Backoff::new(entropy), FaultLog::new(what));
    loop {
        let begun = Instant::now();
        let outcome = tokio::select! {
            biased;
            outcome = work() => outcome,
            () = token.cancelled() => return,
        };
        match outcome {
            Ok(()) => return faults.well(),
            Err(error) => {
                if begun.elapsed() >= STEADY_AFTER {
                    backoff.reset();
                }
                faults.fault(&error);
            }
        }
        if !backoff.wait(token).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failing_work_is_tried_again_until_it_ends_well() {
        let (token, mut attempts) = (CancellationToken::new(), 0);
        let work = || {
            attempts += 1;
            let outcome = if attempts < 4 { Err("not yet") } else { Ok(()) };
            async move { outcome }
        };
        supervised("test", Entropy::seeded(1), &token, work).await;
        assert_eq!(attempts, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_the_waiting() {
        let token = CancellationToken::new();
        token.cancel();
        supervised("test", Entropy::seeded(1), &token, || async { Err("never") }).await;
        supervised("test", Entropy::seeded(1), &token, std::future::pending::<Result<(), &str>>).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeating_fault_is_logged_now_and_then() {
        let mut faults = FaultLog::new("test");
        assert!(faults.fault(&"a"));
        assert!(!faults.fault(&"b"));
        tokio::time::advance(REPEAT_LOG_EVERY).await;
        assert!(faults.fault(&"c"));
        faults.well();
        assert!(faults.fault(&"d"));
    }
}
