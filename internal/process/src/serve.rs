//! The HTTP server, the same for every service: health beside the service's own routes, every failure in the common
//! form, and a bound on everything.
//!
//! | bound | at the bound |
//! |---|---|
//! | [`Bounds::connections`] open connections | the oldest idle one closes; never a socket of a user; see `connection_table` |
//! | [`Bounds::strangers`] connections without a verified token | the oldest idle one closes |
//! | [`Bounds::per_address`] | the oldest idle unauthenticated one of that address closes, or the new one |
//! | [`HEAD_WITHIN`] for a request's head, from where the connection begins or its last request was answered | closed |
//! | [`HEAD_BYTES_MAX`] of head | 431, closed |
//! | [`BODY_WITHIN`] for a body | `too_slow` |
//! | [`BODY_BYTES_MAX`] of body | `too_large` |
//! | [`BODIES_BYTES_MAX`] of all bodies | `busy` |
//! | [`ANSWERS_BYTES_MAX`] of all answers that clients have not read yet | the slowest reader is closed; `busy` |
//! | [`REQUEST_WITHIN`] for an answer | `unknown` for what may have changed something, else `unavailable` |
//! | [`TAKEN_WITHIN`] in which a client reads nothing, or less than [`TAKEN_RATE_MIN`] on the whole | closed |
//! | [`DRAIN_WITHIN`] for what is open when the server stops | those connections are dropped, with a warning |
//!
//! Where no connection can be closed, further connections wait in the operating system's queue.

mod answers;
mod bodies;
mod connection_table;
mod connections;
mod layers;
mod link;
mod write_budget;

use std::io;
use std::time::Duration;

use api::ApiError;
use axum::Router;
use environment::Entropy;
use protocol::ErrorCode;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use connection_table::ConnectionTable;
use connections::Acceptor;

use crate::{Metrics, Origins, Readiness, descriptors, health};

pub use answers::{ANSWER_BYTES, ANSWERS_BYTES_MAX, MEMORY_WITHIN};
pub use bodies::BODIES_BYTES_MAX;
pub use connection_table::{Bounds, PerAddress};

/// The largest body, and socket frame.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest a handler may take. A websocket's upgrade is answered at once; the socket itself is not bounded by it.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// Open connections of one listener, sockets included; fewer where the process may not have as many descriptors.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Connections of one address, unless told otherwise and unless it is a loopback address.
pub const CONNECTIONS_PER_ADDRESS: usize = 4_096;
/// The part of all connections (one in so many) that may be without a verified token.
pub const STRANGERS_SHARE: usize = 2;
/// Connections of the operators' listener.
pub const OPERATORS_MAX: usize = 32;
/// Bytes of a request's head, and of the buffer of a connection. One read of hyper's may exceed it, up to twice.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long a body may take to arrive.
pub const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may be open before a whole request head has come, and how long it may then idle between an
/// answer and the next head. A proxy in front should let go of its idle connections sooner than that.
pub const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// How long a client may leave an answer, or a socket's frames, unread while the server waits to write more.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(15);
/// Bytes per second that a client must take on the whole while the server waits for it.
pub const TAKEN_RATE_MIN: usize = 8 * 1024;
/// How long requests in flight may take to finish when the server stops.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// What a server needs beside its routes.
#[derive(Debug, Clone)]
pub struct Serving {
    /// Makes request ids and trace ids.
    pub entropy: Entropy,
    /// The conditions that `/readyz` reports.
    pub readiness: Readiness,
    /// The metrics that `/metrics` reports.
    pub metrics: Metrics,
    /// The web pages that may read the answers.
    pub origins: Origins,
}

impl Serving {
    /// A server whose answers no page of another origin may read.
    #[must_use]
    pub fn new(entropy: Entropy, readiness: Readiness, metrics: Metrics) -> Self {
        Self { entropy, readiness, metrics, origins: Origins::default() }
    }

    /// The same server, for pages of those origins.
    #[must_use]
    pub fn read_by(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }
}

impl Bounds {
    /// The bounds that the process's descriptors allow, with so many connections per address.
    #[must_use]
    pub fn of_process(per_address: PerAddress) -> Self {
        let connections = descriptors::connections_max();
        Self { connections, strangers: (connections / STRANGERS_SHARE).max(1), per_address }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::of_process(PerAddress::MaxUnlessLoopback(CONNECTIONS_PER_ADDRESS))
    }
}

/// Serves `router`, and `/livez` and `/readyz` beside it, until `shutdown` is cancelled; then finishes what is in flight.
///
/// # Errors
/// When the listener is of no use.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    serving: Serving,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve_within(Bounds::default(), listener, router, serving, shutdown).await
}

/// Like [`serve`], within bounds that the caller names.
///
/// # Errors
/// When the listener is of no use.
pub async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    router: Router,
    serving: Serving,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let app = app(router, &serving);
    listen(bounds, listener, app, &serving, shutdown).await
}

/// Serves what is for operators only: the reasons behind `/readyz`, and `/metrics`.
///
/// # Errors
/// When the listener is of no use.
pub async fn serve_operators(listener: TcpListener, serving: Serving, shutdown: CancellationToken) -> io::Result<()> {
    let routes = health::operators(serving.readiness.clone(), serving.metrics.clone());
    let bounds = Bounds { connections: OPERATORS_MAX, strangers: OPERATORS_MAX, per_address: PerAddress::Unbounded };
    let app = layers::around(routes, &serving);
    listen(bounds, listener, app, &serving, shutdown).await
}

async fn listen(
    bounds: Bounds,
    listener: TcpListener,
    app: Router,
    serving: &Serving,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let http = serving.metrics.http();
    let mut acceptor =
        Acceptor::new(listener, ConnectionTable::new(bounds, http.connections.clone(), http.let_go.clone()));
    let mut open = JoinSet::new();
    tracing::info!(%address, connections_max = bounds.connections, "listening");
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = open.join_next(), if !open.is_empty() => {}
            connection = acceptor.accept() => {
                open.spawn(connections::serve(connection, app.clone(), shutdown.clone()));
            }
        }
    }
    // Connections that come from now on are refused at once instead of waiting in the queue.
    drop(acceptor);
    let finished = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_WITHIN, finished).await.is_err() {
        tracing::warn!(deadline = ?DRAIN_WITHIN, "requests in flight were dropped: the deadline is missed");
    }
    Ok(())
}

/// The routes of a service that is not started yet: every path is `unavailable`, because clients would take a "no" for
/// final.
pub fn starting() -> Router {
    // Without a cause, so that it is not logged: starting is no fault.
    Router::new()
        .fallback(|| async { ApiError::new(ErrorCode::Unavailable, "the service is starting: try again in a moment") })
}

/// The service's routes with the health routes and all layers, as [`serve`] serves them.
pub fn app(router: Router, serving: &Serving) -> Router {
    let health = health::public(serving.readiness.clone());
    layers::around(router.merge(health), serving)
}
