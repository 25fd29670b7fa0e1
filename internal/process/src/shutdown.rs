//! The end of a process: one token, made from the signals that ask for it, and one deadline.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long an orderly end may take, unless the options of a program ask for more. What is not finished then is left as a crash would leave it.
pub const END_WITHIN: Duration = Duration::from_secs(10);

/// The exit code of a process that was told twice to stop (128 + SIGINT).
const EXIT_IMPATIENT: i32 = 130;

/// A token that is cancelled by SIGTERM or Ctrl-C. A second signal ends the process at once.
///
/// # Errors
/// When the operating system refuses a signal handler.
pub fn on_signals() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut signals = Signals::new()?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "stopping");
        cancelled.cancel();
        let name = signals.next().await;
        tracing::warn!(signal = name, "told again to stop: stopping at once");
        std::process::exit(EXIT_IMPATIENT);
    });
    Ok(token)
}

/// Runs `work` to its end; once `token` is cancelled, at most `end_within` longer. `None` when that was not enough.
pub async fn until_ended<T>(
    token: &CancellationToken,
    end_within: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return Some(done),
        () = token.cancelled() => {}
    }
    let done = tokio::time::timeout(end_within, work).await.ok();
    if done.is_none() {
        tracing::warn!(deadline = ?end_within, "not stopped in order: the deadline is missed");
    }
    done
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_end_is_given_up_at_the_deadline() {
        let token = CancellationToken::new();
        assert_eq!(until_ended(&token, END_WITHIN, async { 7 }).await, Some(7));
        token.cancel();
        let begun = tokio::time::Instant::now();
        assert_eq!(until_ended(&token, END_WITHIN, std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), END_WITHIN);
    }
}
