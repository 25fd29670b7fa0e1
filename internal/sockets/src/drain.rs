//! Graceful shutdown of a node: its sockets are closed first, one after another, then the readers that served them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use environment::Entropy;

use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::socket::FINISH_WAIT;
use crate::wire::CLOSE_WAIT;

/// How long sockets may take beyond the drain window: for answers in flight, and for the close handshake.
const BEYOND_WINDOW: Duration = FINISH_WAIT.saturating_add(CLOSE_WAIT).saturating_add(Duration::from_millis(500));

/// The moments at which the sockets of a node that stops are closed: evenly spread over the drain window, so that no
/// second has more of the connects that follow than another.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    /// Sockets that were open when the drain began.
    sockets: AtomicU64,
    /// Sockets that have a moment.
    departing: AtomicU64,
}

impl Departures {
    fn begin(&self, sockets: usize) {
        self.sockets.store(u64::try_from(sockets).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long after the beginning of the drain the next socket is closed: a random moment in its part of the window.
    pub(crate) fn next(&self, window: Duration, entropy: &Entropy) -> Duration {
        let sockets = self.sockets.load(Ordering::Relaxed).max(1);
        let index = self.departing.fetch_add(1, Ordering::Relaxed) % sockets;
        let part_us = u64::try_from(window.as_micros()).unwrap_or(u64::MAX) / sockets;
        Duration::from_micros(part_us.saturating_mul(index).saturating_add(entropy.below(part_us)))
    }
}

/// Waits until `go` is cancelled, then closes the sockets.
///
/// The process is unready by then, and new sockets are refused. Devices resume at another node with their cursors:
/// frames that are queued here and not sent are sent there.
pub(crate) async fn run(node: Arc<Node>, go: CancellationToken) {
    go.cancelled().await;
    let (sockets, window) = (node.sockets.len(), node.config.drain_window);
    tracing::info!(sockets, ?window, "asking devices to move");
    node.departures.begin(sockets);
    node.draining.cancel();
    node.sockets.close();
    if node.node_clock.within(window + BEYOND_WINDOW, node.sockets.wait()).await.is_none() {
        tracing::warn!(sockets = node.sockets.len(), "sockets not ended in order: the deadline is missed");
    }
    node.stop.cancel();
    node.readers.close();
    node.readers.wait().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_window_has_as_many_departures_as_any_other() {
        let (departures, entropy, window) = (Departures::default(), Entropy::seeded(1), Duration::from_secs(10));
        departures.begin(3_000);
        let mut by_second = [0; 10];
        for _ in 0..3_000 {
            by_second[usize::try_from(departures.next(window, &entropy).as_secs()).unwrap()] += 1;
        }
        assert_eq!(by_second, [300; 10]);
        assert!(departures.next(window, &entropy) < window, "one that was not counted has its moment, too");
        assert!(Departures::default().next(window, &entropy) < window);
    }
}
