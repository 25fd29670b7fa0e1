//! When a device is pinged, and when its socket is closed as idle. Times are those of
//! [`NodeClock`](crate::node_clock::NodeClock): silence counts against the device only while the node was running
//! and could read.

use std::time::Duration;

/// After this many ping intervals of silence the socket is closed.
const SILENT_PINGS_MAX: u32 = 3;
/// Pings are due at multiples of this, in milliseconds, so that a node with many quiet devices wakes up once for several
/// of them. Not so rarely that their pings would be felt: of 10,000 devices, 34 are pinged together.
const PING_TICK_MS: u64 = 100;

/// When something was last sent to, and heard from, a device.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    every: Duration,
    sent: Duration,
    heard: Duration,
    pinged: Duration,
}

impl Heartbeat {
    pub(crate) fn new(every: Duration, now: Duration) -> Self {
        Self { every, sent: now, heard: now, pinged: now }
    }

    pub(crate) fn sent(&mut self, now: Duration) {
        self.sent = now;
    }

    pub(crate) fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    pub(crate) fn pinged(&mut self, now: Duration) {
        self.pinged = now;
    }

    /// When the next ping is due. A device that is sent frames but is silent is pinged, too, since it need not
    /// answer frames.
    pub(crate) fn ping_at(&self) -> Duration {
        let due = self.sent.min(self.heard).max(self.pinged) + self.every;
        // Rounded up: what is due in the same tick has the same time.
        let ticks = due.as_nanos().div_ceil(u128::from(PING_TICK_MS) * 1_000_000);
        Duration::from_millis(u64::try_from(ticks).unwrap_or(u64::MAX / PING_TICK_MS) * PING_TICK_MS)
    }

    /// When the device will have been silent for too long.
    pub(crate) fn idle_at(&self) -> Duration {
        self.heard + self.every * SILENT_PINGS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_clock::NodeClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_device_that_only_listens_is_pinged_and_not_given_up() {
        let mut now = SECOND;
        let mut heartbeat = Heartbeat::new(SECOND * 30, now);
        for _ in 0..100 {
            now += SECOND;
            heartbeat.sent(now);
            if heartbeat.ping_at() <= now {
                heartbeat.pinged(now);
                heartbeat.heard(now);
            }
        }
        assert!(heartbeat.idle_at() > now);
        assert_eq!(heartbeat.pinged, SECOND * 91);
        assert!(heartbeat.idle_at() <= now + SECOND * 90, "a device that does not answer is given up");
    }

    #[test]
    fn devices_whose_pings_are_due_within_a_tick_are_pinged_together() {
        let at = |ms| Heartbeat::new(SECOND * 30, Duration::from_millis(ms)).ping_at();
        assert_eq!(at(1_001), at(1_100));
        assert_eq!(at(1_100), Duration::from_millis(31_100), "never early, and at most a tick late");
        assert_eq!(at(1_101), Duration::from_millis(31_200));
    }

    /// Issue 10, item 7.
    #[tokio::test(start_paused = true)]
    async fn a_stop_of_the_process_is_not_the_devices_silence() {
        let node_clock = NodeClock::driven();
        let heartbeat = Heartbeat::new(SECOND * 30, node_clock.now());
        tokio::time::advance(SECOND * 3600).await;
        assert!(heartbeat.idle_at() > node_clock.now() + SECOND * 89, "there was nobody to hear it");
        assert!(heartbeat.ping_at() > node_clock.now(), "it is asked for a sign of life first");
        tokio::time::sleep(SECOND * 91).await;
        assert!(heartbeat.idle_at() <= node_clock.now(), "whoever says nothing to a node that listens is given up");
    }
}
