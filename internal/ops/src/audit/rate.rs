//! A limit on the records that are read per second: an audit must not use capacity that users need.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A throttle over records read.
#[derive(Debug)]
pub(super) struct Rate {
    /// Records per second; 0: no limit.
    per_second: u32,
    /// When the records that were read so far are within the limit.
    paid: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, paid: Instant::now() }
    }

    /// Waits until `records` more may be read. Unused time is not saved up.
    pub(super) async fn spend(&mut self, records: usize, stop: &CancellationToken) {
        if self.per_second == 0 {
            return;
        }
        let cost = Duration::from_secs(1).mul_f64(records as f64 / f64::from(self.per_second));
        self.paid = self.paid.max(Instant::now()) + cost;
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep_until(self.paid) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn records_take_their_time() {
        let (begun, stop) = (Instant::now(), CancellationToken::new());
        let mut rate = Rate::new(100);
        for _ in 0..5 {
            rate.spend(50, &stop).await;
        }
        assert_eq!(begun.elapsed().as_millis() / 10, 250);
        Rate::new(0).spend(1_000_000, &stop).await;
        assert_eq!(begun.elapsed().as_millis() / 10, 250);
    }
}
