//! How many commands a socket may send: a token bucket.

use std::time::Duration;

use tokio::time::Instant;

/// Pings and pongs that a socket may send at once. A normal device sends one pong per [`crate::Config::ping`].
/// Beyond, it is closed with `Protocol`.
pub const SIGNS_BURST: u32 = 60;
/// Pings and pongs that a socket may send per second in the long run.
pub const SIGNS_PER_SECOND: u32 = 5;

/// Tokens that come back at a steady rate, up to a burst.
#[derive(Debug)]
pub(crate) struct Budget {
    /// When the bucket would be full.
    full_at: Instant,
    /// The time between two tokens.
    interval: Duration,
    /// The time in which an empty bucket fills.
    span: Duration,
}

impl Budget {
    /// A full bucket of `burst` tokens, `rate` of which come back per second.
    pub(crate) fn new(burst: u32, rate: u32) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        Self { full_at: Instant::now(), interval, span: interval * burst.max(1) }
    }

    /// Takes a token, if there is one.
    pub(crate) fn spend(&mut self) -> bool {
        let now = Instant::now();
        let full_at = self.full_at.max(now) + self.interval;
        let spent = full_at <= now + self.span;
        if spent {
            self.full_at = full_at;
        }
        spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_through_and_then_the_rate() {
        let mut budget = Budget::new(3, 10);
        assert_eq!((0..5).filter(|_| budget.spend()).count(), 3);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!((0..5).filter(|_| budget.spend()).count(), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((0..5).filter(|_| budget.spend()).count(), 3, "never more than the burst");
    }
}
