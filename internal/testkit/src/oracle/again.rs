//! Asking again: servers under load, or just killed, answer "later", as they may. An oracle judges what they hold.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep};

/// How long something may fail to be read: what has not come by then never comes.
const ANSWERED_WITHIN: Duration = Duration::from_secs(300);
/// Between two attempts.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Asks until there is an answer.
///
/// # Errors
/// What was said last, when nothing else is said for minutes.
pub(super) async fn again<T, E: Display>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> Result<T> {
    let deadline = Instant::now() + ANSWERED_WITHIN;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > deadline => return Err(anyhow!("{what}: {error:#}")),
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
            if asked < 9 { Err("later") } else { Ok(asked) }
        });
        assert_eq!(answer.await.unwrap(), 9);
        let never = again("rows", async || Err::<(), _>("gone")).await.unwrap_err();
        assert_eq!(never.to_string(), "rows: gone");
    }
}
