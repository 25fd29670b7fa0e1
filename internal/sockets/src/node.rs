//! A websocket node: the state that all its sockets share.

use std::sync::Arc;

use auth::Verifier;
use commands::Commands;
use domain::UserId;
use environment::{Clock, Entropy};
use eventlog::partition_of_id;
use events::topics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Deps;
use crate::admission::Admission;
use crate::config::Config;
use crate::drain::Departures;
use crate::metrics::Metrics;
use crate::node_clock::NodeClock;
use crate::partition::{Common, Log, Partition};
use crate::signals::{MembersCache, Needs, Signals};
use crate::socket_count::SocketCount;

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Arc<Config>,
    pub(crate) commands: Shown<Commands>,
    pub(crate) verifier: Verifier,
    pub(crate) clock: Clock,
    /// The clock for deadlines that devices must meet. It runs until `stop`.
    pub(crate) node_clock: Arc<NodeClock>,
    pub(crate) entropy: Entropy,
    pub(crate) metrics: Metrics,
    pub(crate) socket_count: Arc<SocketCount>,
    /// How fast devices are welcomed.
    pub(crate) admission: Arc<Admission>,
    /// Every open socket.
    pub(crate) sockets: TaskTracker,
    /// Cancelled when the sockets are to be closed.
    pub(crate) draining: CancellationToken,
    /// When each of them is closed then.
    pub(crate) departures: Departures,
    /// The partitions of `chat.deliveries`, by number.
    partitions: Vec<Arc<Partition>>,
    /// The lossy signals of this node. Nothing durable waits for them.
    pub(crate) signals: Arc<Signals>,
    /// The tasks of readers, range reads, signals and the node clock.
    pub(crate) readers: TaskTracker,
    /// Ends those tasks, once the last socket is closed.
    pub(crate) stop: CancellationToken,
}

/// Gives a value without `Debug` a debug output: the name of its type.
pub(crate) struct Shown<T>(pub(crate) T);

impl Node {
    pub(crate) fn new(config: Config, deps: &Deps, commands: Commands) -> Arc<Self> {
        let (config, topic) = (Arc::new(config), topics::spec_of(topics::DELIVERIES));
        let (readers, stop) = (TaskTracker::new(), CancellationToken::new());
        let (metrics, node_clock, members) = (Metrics::new(&deps.metrics), NodeClock::new(), MembersCache::new());
        let (driven, until) = (Arc::clone(&node_clock), stop.clone());
        readers.spawn(async move { until.run_until_cancelled(driven.run()).await });
        let admission = Arc::new(Admission::new(config.welcomes_per_second));
        let (admitting, until) = (Arc::clone(&admission), stop.clone());
        readers.spawn(async move { until.run_until_cancelled(admitting.run()).await });
        let common = Common {
            topic,
            log: Log(Arc::clone(&deps.log)),
            codec: deps.codec.clone(),
            clock: deps.clock.clone(),
            entropy: deps.entropy.clone(),
            metrics: metrics.clone(),
            members: members.clone(),
            node_clock: Arc::clone(&node_clock),
            config: Arc::clone(&config),
            tasks: readers.clone(),
            stop: stop.clone(),
        };
        let signals = Signals::new(Needs {
            log: Log(Arc::clone(&deps.log)),
            store: Arc::clone(&deps.store),
            members,
            codec: deps.codec.clone(),
            clock: deps.clock.clone(),
            entropy: deps.entropy.clone(),
            metrics: metrics.clone(),
            tasks: readers.clone(),
            stop: stop.clone(),
        });
        let partitions = (0..topic.partitions).map(|number| Partition::new(number, common.clone())).collect();
        Arc::new(Self {
            commands: Shown(commands),
            verifier: deps.verifier.clone(),
            clock: deps.clock.clone(),
            node_clock,
            entropy: deps.entropy.clone(),
            metrics,
            socket_count: SocketCount::new(config.sockets_max, config.sockets_per_address, config.sockets_per_user_max),
            admission,
            sockets: TaskTracker::new(),
            draining: CancellationToken::new(),
            departures: Departures::default(),
            partitions,
            signals,
            readers,
            stop,
            config,
        })
    }

    /// The partition that a user's deliveries are in.
    pub(crate) fn partition(&self, user: UserId) -> &Arc<Partition> {
        let count = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        &self.partitions[partition_of_id(user.uuid(), count) as usize]
    }
}

impl<T> std::ops::Deref for Shown<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> std::fmt::Debug for Shown<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<T>())
    }
}
