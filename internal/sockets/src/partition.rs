//! One partition of `chat.deliveries` on this node: its hub, its reader (while it has connected users), its range
//! reads.

use std::sync::Arc;
use std::time::Duration;

use environment::{Clock, Entropy};
use eventlog::SharedLog;
use events::topics::TopicSpec;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::entry::Renderer;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::node_clock::NodeClock;
use crate::range::Ranges;
use crate::reader;
use crate::ring::{Bounds, Ring};
use crate::signals::MembersCache;

/// A partition on this node.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) topic: &'static TopicSpec,
    pub(crate) number: u32,
    pub(crate) hub: Arc<Hub>,
    pub(crate) ranges: Ranges,
    pub(crate) renderer: Renderer,
    pub(crate) log: Log,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) metrics: Metrics,
    pub(crate) node_clock: Arc<NodeClock>,
    pub(crate) config: Arc<Config>,
    /// The count of sockets whose user is in this partition, and whether a reader runs.
    occupancy: watch::Sender<Occupancy>,
    /// The tasks of the reader and the range reads.
    pub(crate) tasks: TaskTracker,
    /// Ends those tasks.
    pub(crate) stop: CancellationToken,
}

/// A log with a debug output.
#[derive(Clone)]
pub(crate) struct Log(pub(crate) SharedLog);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Occupancy {
    sockets: usize,
    reader: bool,
}

/// A socket's registration in a partition. While there is one, the partition's reader runs.
#[derive(Debug)]
pub(crate) struct Stay {
    partition: Arc<Partition>,
}

/// The dependencies that all partitions of a node share.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) topic: &'static TopicSpec,
    pub(crate) log: Log,
    pub(crate) codec: events::Codec,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) metrics: Metrics,
    pub(crate) members: MembersCache,
    pub(crate) node_clock: Arc<NodeClock>,
    pub(crate) config: Arc<Config>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Partition {
    pub(crate) fn new(number: u32, common: Common) -> Arc<Self> {
        let Common { topic, log, codec, clock, entropy, metrics, members, node_clock, config, tasks, stop } = common;
        Arc::new(Self {
            topic,
            number,
            hub: Hub::new(),
            ranges: Ranges::default(),
            renderer: Renderer::new(codec, metrics.clone(), members, (topic.generation, number)),
            log,
            clock,
            entropy,
            metrics,
            node_clock,
            config,
            occupancy: watch::Sender::default(),
            tasks,
            stop,
        })
    }

    /// Registers a socket, and starts the reader if none runs.
    pub(crate) fn enter(self: &Arc<Self>) -> Stay {
        let mut start = false;
        self.occupancy.send_modify(|occupancy| {
            occupancy.sockets += 1;
            start = !std::mem::replace(&mut occupancy.reader, true);
        });
        if start {
            self.tasks.spawn(reader::run(Arc::clone(self)));
        }
        Stay { partition: Arc::clone(self) }
    }

    /// Waits until the partition has had no socket for `idle`.
    pub(crate) async fn vacated(&self, idle: Duration) {
        let mut occupancy = self.occupancy.subscribe();
        loop {
            // This cannot fail: the sender lives as long as `self`.
            let _ = occupancy.wait_for(|occupancy| occupancy.sockets == 0).await;
            if tokio::time::timeout(idle, occupancy.wait_for(|occupancy| occupancy.sockets > 0)).await.is_err() {
                return;
            }
        }
    }

    /// Waits until the reader has a position, for at most `wait` on the node's clock; returns whether it has.
    pub(crate) async fn running(&self, wait: Duration) -> bool {
        self.node_clock.within(wait, self.hub.running()).await.is_some()
    }

    /// Called by the reader before it ends. Returns whether there is no socket; then the next socket starts a new
    /// reader.
    pub(crate) fn leave_if_vacant(&self) -> bool {
        self.occupancy.send_if_modified(|occupancy| {
            let vacant = occupancy.sockets == 0;
            if vacant {
                // Under the lock that `enter` takes, so that no socket can register with a hub that is about to
                // close.
                self.hub.close();
                occupancy.reader = false;
            }
            vacant
        })
    }

    /// An empty ring that begins at `start`.
    pub(crate) fn ring(&self, start: domain::Cursor) -> Ring {
        let Config { ring_records_max, ring_bytes_max, ring_list_bytes_max, .. } = *self.config;
        let bounds =
            Bounds { records_max: ring_records_max, bytes_max: ring_bytes_max, list_bytes_max: ring_list_bytes_max };
        Ring::new(start, bounds)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.partition.occupancy.send_modify(|occupancy| occupancy.sockets -= 1);
    }
}
