//! When to ping a device, and when to give it up.

use std::time::Duration;

use tokio::time::Instant;

/// Silence of so many pings ends a socket.
const SILENT_PINGS_MAX: u32 = 3;

/// When something was last sent to, and heard from, a device.
#[derive(Debug)]
pub(crate) struct Beat {
    every: Duration,
    sent: Instant,
    heard: Instant,
    pinged: Instant,
}

impl Beat {
    pub(crate) fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self { every, sent: now, heard: now, pinged: now }
    }

    pub(crate) fn sent(&mut self) {
        self.sent = Instant::now();
    }

    pub(crate) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    pub(crate) fn pinged(&mut self) {
        self.pinged = Instant::now();
    }

    /// When a ping is due: also to a device that gets frames and is silent, since it need not answer those.
    pub(crate) fn ping_at(&self) -> Instant {
        self.sent.min(self.heard).max(self.pinged) + self.every
    }

    /// When the device was silent for too long.
    pub(crate) fn idle_at(&self) -> Instant {
        self.heard + self.every * SILENT_PINGS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_device_that_only_listens_is_pinged_and_not_given_up() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut beat = Beat::new(second * 30);
        for _ in 0..100 {
            tokio::time::advance(second).await;
            beat.sent();
            if beat.ping_at() <= Instant::now() {
                beat.pinged();
                beat.heard();
            }
        }
        assert!(beat.idle_at() > Instant::now());
        assert_eq!(beat.pinged - start, second * 90);
        tokio::time::advance(second * 90).await;
        assert!(beat.idle_at() <= Instant::now(), "a device that does not answer is given up");
    }
}
