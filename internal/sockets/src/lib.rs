//! The websocket service: what concerns a user, to every device of theirs, from wherever the device left off.
//!
//! A node reads a partition of `chat.deliveries` while it has a connected user in it (`reader`), keeps its recent
//! records in a ring and wakes the sockets that a record concerns (`hub`); devices that come back with an older
//! cursor share one read of the log (`range`); a socket's `feed` moves between these without a gap. Commands go the
//! other way, through the [`commands`] library into `chat.messages` (`intake`). Nothing here is state that matters:
//! a device that loses its node goes on with any other. Who is typing goes from device to device through `chat.signals`
//! (`signals`), past all of this.
//!
//! | bound | at the bound |
//! |---|---|
//! | sockets of the node | the new one is closed with `TooMany` |
//! | sockets of a user | the one silent for longest is closed with `TooMany` |
//! | time that the end of a socket takes | the connection is dropped |
//! | recent records, and their bytes, per partition | the oldest goes; who had not taken it reads on from the log |
//! | time that a device takes nothing while the node tries to write to it | closed with `Slow` |
//! | time that the reader waits for sockets that are behind | see `reader`: their neighbours go on |
//! | lists of recipients in the ring, in bytes, per partition | the oldest lists go: who comes back from before them reads the log |
//! | records of the log, and their bytes, that are addressed to a device that comes back | `reset` with `too_far` |
//! | range of the log, and its bytes, that is looked through for all who come back | `reset` with `too_far` |
//! | range reads that bring a device no further | `reset` with `lapped` |
//! | bytes of a frame | closed with `TooLarge` |
//! | commands in flight | the socket is not read from |
//! | commands per second of a socket, and of a user over all sockets and HTTP | `rate_limited` |
//! | pings and pongs per second | closed with `Protocol` |
//! | malformed frames | closed with `Protocol` |
//! | everything about signals | see `signals`: they are dropped |

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
#[cfg(test)]
mod tick_log;
mod upgrade;
mod wire;

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

pub use commands::Allowance;
pub use config::Config;
pub use intake::{SIGNS_BURST, SIGNS_PER_SECOND};
pub use parse::parse as parse_frame;

use node::Node;

/// What a client meets, beside what [`Config`] says.
pub mod limits {
    pub use crate::batch::BATCH_BYTES_MAX;
    pub use crate::handshake::FRAME_BYTES_MAX;
    pub use crate::hello::SOCKET_AGE_MAX;
    pub use crate::intake::{IN_FLIGHT_MAX, MALFORMED_MAX};
    pub use crate::signals::{MEMBERS_KEPT, SIGNALS_BURST, SIGNALS_PER_SECOND};
    pub use crate::wire::CLOSE_WAIT;
}

/// What a node reads, and what the commands of its sockets are written to.
const TOPICS: [&str; 3] = [DELIVERIES, MESSAGES, RECEIPTS];

/// What a node works with.
#[derive(Clone)]
pub struct Deps {
    /// Deliveries come from it, commands go to it.
    pub log: SharedLog,
    /// For advisory checks of commands. Deliveries never need it.
    pub store: SharedStore,
    /// Reads deliveries, writes commands.
    pub codec: Codec,
    /// Verifies access tokens.
    pub verifier: Verifier,
    /// The time of day, for the expiry of tokens and in commands.
    pub clock: Clock,
    /// Source of jitter and trace ids.
    pub entropy: Entropy,
    /// What `/readyz` tells.
    pub readiness: Readiness,
    /// What `/metrics` tells.
    pub metrics: process::Metrics,
}

/// Serves sockets until `shutdown` is cancelled, then asks the devices to move, and ends within ten seconds.
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
    let mut tasks = Tasks::new(deps.readiness.clone());
    let (router, sockets) = start(config, deps, &mut tasks);
    tasks.spawn("http", |token| process::serve(listener, router, serving, token));
    // Ended in the reverse order: the sockets go while health is still answered for, and their marks are written last.
    tasks.spawn("sockets", |token| sockets.drain(token));
    tasks.run(shutdown).await
}

/// The open sockets of a process, to be ended before its HTTP server is.
pub struct Sockets(Arc<Node>);

impl Sockets {
    /// Waits for the token, then asks the devices to move and waits until they have.
    ///
    /// # Errors
    /// Never.
    pub async fn drain(self, token: CancellationToken) -> Result<(), Infallible> {
        drain::run(self.0, token).await;
        Ok(())
    }
}

/// Starts what the service does by itself, and returns its routes and its sockets: for a process that serves more than
/// this service.
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
