//! The HTTP server, the same for every service: health beside the service's own routes, every failure in the common
//! form, and a bound on everything.
//!
//! | bound | at the bound |
//! |---|---|
//! | [`CONNECTIONS_MAX`] open connections | further ones wait in the operating system's queue |
//! | [`HEAD_WITHIN`] for a request's head, from where the connection begins or its last request was answered | closed |
//! | [`BODY_BYTES_MAX`] of body | `too_large` |
//! | [`REQUEST_WITHIN`] for an answer | `unknown` for what may have changed something, else `unavailable` |
//! | [`TAKEN_WITHIN`] in which a client takes nothing of an answer | closed |
//! | [`DRAIN_WITHIN`] for what is open when the server stops | those connections are dropped, with a warning |

mod connections;
mod layers;

use std::io;
use std::time::Duration;

use api::{ApiError, ErrorCode};
use axum::Router;
use host::Entropy;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use connections::Bounded;

use crate::{Metrics, Readiness, health};

/// The largest body, and socket frame.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest a handler may take. A websocket's upgrade is answered at once; the socket itself is not bounded by it.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// Open connections of one listener, sockets included.
pub const CONNECTIONS_MAX: usize = 65_536;
/// How long a connection may be open before a whole request head has come, and how long it may then idle between an
/// answer and the next head. A proxy in front should let go of its idle connections sooner than that.
pub const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// How long a client may leave an answer untaken; every byte that it takes begins the time anew.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(15);
/// How long requests in flight may take to finish when the server stops.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// What a server needs beside its routes.
#[derive(Debug, Clone)]
pub struct Serving {
    /// For request ids and trace ids.
    pub entropy: Entropy,
    /// What `/readyz` tells.
    pub readiness: Readiness,
    /// What `/metrics` tells.
    pub metrics: Metrics,
}

/// Serves `router`, and the health routes beside it, until `shutdown` is cancelled; then finishes what is in flight.
///
/// Accept errors back off and go on.
///
/// # Errors
/// When the listener is of no use.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    serving: Serving,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut listener = Bounded::new(listener, CONNECTIONS_MAX, serving.metrics.http().connections.clone());
    let app = app(router, &serving);
    let mut open = JoinSet::new();
    tracing::info!(%address, "listening");
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = open.join_next(), if !open.is_empty() => {}
            connection = listener.accept() => {
                open.spawn(connections::serve(connection, app.clone(), shutdown.clone()));
            }
        }
    }
    // Whoever comes from now on is refused at once instead of waiting for nobody.
    drop(listener);
    let finished = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_WITHIN, finished).await.is_err() {
        tracing::warn!(deadline = ?DRAIN_WITHIN, "requests in flight were dropped: the deadline is missed");
    }
    Ok(())
}

/// The routes of a service that is not there yet: every path is `unavailable`, since a "no" would be taken for final.
pub fn starting() -> Router {
    // Without a cause: that it starts is no fault to be logged, least of all for each request.
    Router::new()
        .fallback(|| async { ApiError::new(ErrorCode::Unavailable, "the service is starting: try again in a moment") })
}

/// The service's routes with the health routes and all layers, as [`serve`] serves them.
pub fn app(router: Router, serving: &Serving) -> Router {
    let health = health::router(serving.readiness.clone(), serving.metrics.clone());
    layers::around(router.merge(health), serving)
}
