//! How a node goes: its sockets first, at random moments, then what served them.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::socket::FINISH_WAIT;
use crate::wire::CLOSE_WAIT;

/// How long sockets may take beyond the drain window: answers in flight, and the close.
const BEYOND_WINDOW: Duration = FINISH_WAIT.saturating_add(CLOSE_WAIT).saturating_add(Duration::from_millis(500));

/// Waits until it is time to go, then sees the sockets off.
///
/// The process is unready by then, and no new socket is let in. Devices come back elsewhere with their cursors: what is
/// queued here and not sent is sent there.
pub(crate) async fn run(node: Arc<Node>, go: CancellationToken) {
    go.cancelled().await;
    let (sockets, window) = (node.sockets.len(), node.config.drain_window);
    tracing::info!(sockets, ?window, "asking devices to move");
    node.draining.cancel();
    node.sockets.close();
    if node.node_clock.within(window + BEYOND_WINDOW, node.sockets.wait()).await.is_none() {
        tracing::warn!(sockets = node.sockets.len(), "sockets not ended in order: the deadline is missed");
    }
    node.stop.cancel();
    node.readers.close();
    node.readers.wait().await;
}
