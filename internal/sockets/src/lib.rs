//! The websocket service. It sends every device of a user the frames that concern that user, from the device's
//! cursor on, and takes the device's commands.
//!
//! A node reads a partition of `chat.deliveries` while a user of that partition is connected (`reader`). It keeps
//! the partition's recent records in a ring, and wakes the sockets of each record's recipients (`hub`). Devices
//! that reconnect with a cursor older than the ring share one read of the log (`range`). A socket's `feed` changes
//! between ring and log without a gap. Commands go the other way, through the [`commands`] library into
//! `chat.messages` (`intake`). A node keeps no durable state: a device that loses its node resumes at any other
//! one. Signals (who is typing, who is online) go from device to device through `chat.signals` (`signals`), separate from all of
//! this.
//!
//! | bound | at the bound |
//! |---|---|
//! | sockets of the node, and from one address | the new one is closed with `TooMany` |
//! | sockets of a user | the one that was silent for longest is closed with `TooMany` |
//! | devices welcomed per second | further ones wait, see `admission`; beyond, `rate_limited` or closed with `TooMany` |
//! | bytes of texts from a device that waits to be welcomed | the node stops reading from the socket until then |
//! | time that closing a socket takes | the connection is dropped |
//! | recent records, and their bytes, per partition | the oldest is dropped; sockets without it read the log |
//! | time in which a device reads nothing of what the node writes to it | closed with `Slow` |
//! | time that the reader waits for sockets that are behind | see `reader`: it reads on, and they read the log |
//! | recipient lists in the ring, in bytes, per partition | the oldest are dropped; older cursors read the log |
//! | records, and their bytes, addressed to a device that reconnects | `reset` with `too_far` |
//! | range of the log, and its bytes, scanned for a device that reconnects | `reset` with `too_far` |
//! | range reads in a row that bring a device no further | `reset` with `lapped` |
//! | bytes of a frame | closed with `TooLarge` |
//! | commands in flight | the node stops reading from the socket |
//! | commands per second of a socket, and of a user over all sockets and HTTP | `rate_limited` |
//! | pings and pongs per second | closed with `Protocol` |
//! | malformed frames | closed with `Protocol` |
//! | signals, their look-ups and caches | see `signals`: signals are dropped |

mod admission;
mod batch;
mod budget;
mod config;
mod drain;
mod entry;
mod feed;
mod handshake;
mod heartbeat;
mod hello;
mod hub;
mod intake;
mod mailbox;
mod metrics;
mod node;
mod node_clock;
mod parse;
mod partition;
mod position;
mod range;
mod reader;
mod ring;
mod signals;
mod socket;
mod socket_count;
mod text_frame;
#[cfg(test)]
mod tick_log;
mod upgrade;
mod wire;
mod write_queue;

use std::convert::Infallible;
use std::sync::Arc;

use auth::Verifier;
use axum::Router;
use commands::Commands;
use environment::{Clock, Entropy};
use eventlog::{SharedLog, promises};
use events::Codec;
use events::topics::{DELIVERIES, MESSAGES, RECEIPTS};
use process::tasks::TaskError;
use process::{Readiness, Serving, Tasks};
use store::SharedStore;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use budget::{SIGNS_BURST, SIGNS_PER_SECOND};
pub use commands::{Allowance, RULES_OLDEST};
pub use config::Config;
pub use domain::RULES_NEWEST;
pub use parse::parse as parse_frame;

use node::Node;

/// The bounds that clients meet, beside those in [`Config`].
pub mod limits {
    pub use crate::admission::ADMISSION_WAIT;
    pub use crate::batch::BATCH_BYTES_MAX;
    pub use crate::config::REROUTED_AFTER;
    pub use crate::handshake::FRAME_BYTES_MAX;
    pub use crate::hello::SOCKET_AGE_MAX;
    pub use crate::intake::{IN_FLIGHT_MAX, MALFORMED_MAX};
    pub use crate::signals::{MEMBERS_KEPT, QUIET_AFTER_START, SHARING_KEPT, SIGNALS_BURST, SIGNALS_PER_SECOND};
    pub use crate::wire::CLOSE_WAIT;
}

/// The topics that a node reads (`DELIVERIES`) and that the commands of its sockets are written to.
const TOPICS: [&str; 3] = [DELIVERIES, MESSAGES, RECEIPTS];

/// The dependencies of a node.
#[derive(Clone)]
pub struct Deps {
    /// The log: deliveries are read from it, commands are appended to it.
    pub log: SharedLog,
    /// The store, for early checks of commands and for the members whom signals go to. Deliveries never need it.
    pub store: SharedStore,
    /// Decodes deliveries, encodes commands.
    pub codec: Codec,
    /// Verifies access tokens.
    pub verifier: Verifier,
    /// The time of day, for the expiry of tokens and in commands.
    pub clock: Clock,
    /// Source of jitter and trace ids.
    pub entropy: Entropy,
    /// The conditions that `/readyz` reports.
    pub readiness: Readiness,
    /// The registry that `/metrics` shows.
    pub metrics: process::Metrics,
}

/// Serves sockets until `shutdown` is cancelled, then closes them so that the devices reconnect to other nodes,
/// and ends within five seconds more than the drain window.
///
/// # Errors
/// When a part of the service ended by itself.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), TaskError> {
    let serving = Serving::new(deps.entropy.clone(), deps.readiness.clone(), deps.metrics.clone())
        .read_by(config.origins.clone());
    let later = config.drain_window.saturating_sub(Config::default().drain_window);
    let mut tasks = Tasks::new(deps.readiness.clone()).ending_later(later);
    let (router, sockets) = start(config, deps, &mut tasks);
    tasks.spawn("http", |token| process::serve(listener, router, serving, token));
    // Tasks end in the reverse order: the sockets close while the HTTP server still answers health checks, and
    // read marks are written last.
    tasks.spawn("sockets", |token| sockets.drain(token));
    tasks.run(shutdown).await
}

/// The open sockets of a process. They must be drained before its HTTP server ends.
pub struct Sockets(Arc<Node>);

impl Sockets {
    /// Waits until `token` is cancelled, then closes the sockets and waits until they are closed.
    ///
    /// # Errors
    /// Never.
    pub async fn drain(self, token: CancellationToken) -> Result<(), Infallible> {
        drain::run(self.0, token).await;
        Ok(())
    }
}

/// Starts the service's background tasks, and returns its routes and its sockets: for a process that serves other
/// services, too.
pub fn start(config: Config, deps: Deps, tasks: &mut Tasks) -> (Router, Sockets) {
    let (log, store) = (Arc::clone(&deps.log), Arc::clone(&deps.store));
    let (codec, clock) = (deps.codec.clone(), deps.clock.clone());
    let (commands, marks) = Commands::new(log, Arc::clone(&store), codec, clock, config.rules);
    let commands = commands.within(config.allowance.clone());
    let node = Node::new(config, &deps, commands);
    let router = upgrade::router(Arc::clone(&node));
    let Deps { log, codec, readiness, .. } = deps;
    let log_condition = readiness.condition("log", "not looked at yet");
    tasks.spawn("watch on the store", |token| async move {
        match token.run_until_cancelled(store::replaced(&*store)).await {
            Some(error) => Err(error),
            None => Ok(()),
        }
    });
    tasks.spawn("marks", |token| async move {
        marks.run(token).await;
        Ok::<_, Infallible>(())
    });
    tasks.spawn("probe", |token| async move {
        let tell = |fault| log_condition.tell(fault);
        token.run_until_cancelled(promises::watch(&*log, &TOPICS, &codec, tell)).await;
        Ok::<_, Infallible>(())
    });
    (router, Sockets(node))
}
