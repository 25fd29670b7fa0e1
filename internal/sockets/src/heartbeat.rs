//! When a device is pinged, and when its socket is closed as idle. Times are those of
//! [`NodeClock`](crate::node_clock::NodeClock): silence counts against the device only while the node was running
//! and could read.

use std::time::Duration;

/// After this many ping intervals of silence the socket is closed.
const SILENT_PINGS_MAX: u32 = 3;

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
        self.sent.min(self.heard).max(self.pinged) + self.every
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
