//! The lowest rate at which a client may read what is written to it.
//!
//! A client has a time budget for keeping the server waiting. Waiting uses it up; bytes that the client reads, and time
//! in which the server does not wait, restore it. A client that reads nothing is given up when the budget is spent, and
//! one that reads a little just before that must still reach [`TAKEN_RATE_MIN`] on the whole.

use std::time::Duration;

use tokio::time::Instant;

use super::{TAKEN_RATE_MIN, TAKEN_WITHIN};

/// The time budget of one client.
#[derive(Debug)]
pub(super) struct WriteBudget {
    left: Duration,
    /// Since when the server has been waiting for the client.
    waiting: Option<Instant>,
    /// When it waited last.
    waited: Instant,
}

impl WriteBudget {
    pub(super) fn new() -> Self {
        Self { left: TAKEN_WITHIN, waiting: None, waited: Instant::now() }
    }

    /// The server waits for the client: returns when the budget will be spent.
    pub(super) fn wait_began(&mut self) -> Instant {
        let now = Instant::now();
        let since = *self.waiting.get_or_insert_with(|| {
            self.left = (self.left + now.duration_since(self.waited)).min(TAKEN_WITHIN);
            now
        });
        since + self.left
    }

    /// The client has read so many bytes.
    pub(super) fn bytes_read(&mut self, bytes: usize) {
        if let Some(since) = self.waiting.take() {
            self.waited = Instant::now();
            self.left = self.left.saturating_sub(self.waited.duration_since(since));
        }
        let given = Duration::from_secs_f64(bytes as f64 / TAKEN_RATE_MIN as f64);
        self.left = (self.left + given).min(TAKEN_WITHIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALMOST: Duration = TAKEN_WITHIN.saturating_sub(Duration::from_secs(1));

    /// How often a client may take `bytes` just before its time ends.
    async fn times(bytes: usize) -> usize {
        let (mut budget, mut count) = (WriteBudget::new(), 0);
        while count < 100 && budget.wait_began() >= Instant::now() + ALMOST {
            tokio::time::advance(ALMOST).await;
            budget.bytes_read(bytes);
            count += 1;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_just_in_time_is_given_up_and_one_at_the_rate_is_not() {
        assert_eq!(times(1).await, 1);
        let enough = TAKEN_RATE_MIN * usize::try_from(ALMOST.as_secs()).unwrap();
        assert_eq!(times(enough).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_gives_the_time_back() {
        let mut budget = WriteBudget::new();
        budget.wait_began();
        tokio::time::advance(ALMOST).await;
        budget.bytes_read(1);
        tokio::time::advance(TAKEN_WITHIN).await;
        assert_eq!(budget.wait_began(), Instant::now() + TAKEN_WITHIN);
    }
}
