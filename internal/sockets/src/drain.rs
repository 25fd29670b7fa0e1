//! Graceful shutdown of a node: its sockets are closed first, at random moments, then the readers that served
//! them.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::socket::FINISH_WAIT;
use crate::wire::CLOSE_WAIT;

/// How long sockets may take beyond the drain window: for answers in flight, and for the close handshake.
const BEYOND_WINDOW: Duration = FINISH_WAIT.saturating_add(CLOSE_WAIT).saturating_add(Duration::from_millis(500));

/// Waits until `go` is cancelled, then closes the sockets.
///
/// The process is unready by then, and new sockets are refused. Devices resume at another node with their cursors:
/// frames that are queued here and not sent are sent there.
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
