//! Retries for the oracle's reads: servers under load, or just killed, may answer "later". Any other wrong answer is
//! a fault and is reported at once.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, anyhow};
use eventlog::LogError;
use protocol::ErrorCode;
use store::StoreError;
use tokio::time::{Instant, sleep};

use crate::device::Failed;

/// How long a read is retried.
const ANSWERED_WITHIN: Duration = Duration::from_secs(300);
/// Pause between two attempts.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Errors that may mean "retry later".
pub(super) trait Later {
    /// Whether a retry may help.
    fn is_later(&self) -> bool;
}

impl Later for Failed {
    fn is_later(&self) -> bool {
        use ErrorCode as Code;
        match self {
            Self::Unanswered(_) => true,
            Self::Refused(code, _) => {
                matches!(
                    code,
                    Code::Busy | Code::Retry | Code::Held | Code::RateLimited | Code::TooSlow | Code::Unavailable
                )
            }
        }
    }
}

impl Later for LogError {
    fn is_later(&self) -> bool {
        self.is_transient()
    }
}

impl Later for StoreError {
    fn is_later(&self) -> bool {
        self.is_transient()
    }
}

/// Retries until there is an answer.
///
/// # Errors
/// Any error other than "later" at once; "later" after [`ANSWERED_WITHIN`].
pub(super) async fn again<T, E: Display + Later>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> Result<T> {
    let deadline = Instant::now() + ANSWERED_WITHIN;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if !error.is_later() || Instant::now() > deadline => return Err(anyhow!("{what}: {error:#}")),
            Err(_) => sleep(ASK_EVERY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_fails_for_a_while_is_asked_again_and_what_never_comes_is_told() {
        let mut asked = 0;
        let answer = again("rows", async || {
            asked += 1;
            if asked < 9 { Err(LogError::Transient("later".into())) } else { Ok(asked) }
        });
        assert_eq!(answer.await.unwrap(), 9);
        let begun = Instant::now();
        let never = again("rows", async || Err::<(), _>(StoreError::Transient("later".into()))).await.unwrap_err();
        assert!(never.to_string().starts_with("rows: ") && begun.elapsed() > ANSWERED_WITHIN, "{never}");
        let begun = Instant::now();
        for code in [ErrorCode::NotMember, ErrorCode::NotFound, ErrorCode::Internal] {
            again("rows", async || Err::<(), _>(Failed::Refused(code, String::new()))).await.unwrap_err();
        }
        again("rows", async || Err::<(), _>(LogError::Closed)).await.unwrap_err();
        assert_eq!(begun.elapsed(), Duration::ZERO, "a wrong answer is told at once");
    }
}
