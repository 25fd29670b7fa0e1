//! The listener of a service, and how its connections are served: by the real routers, over hyper, in a fixed order.
//!
//! `axum::serve` is not used, because it polls its futures in random order.

use std::convert::Infallible;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use process::Serving;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cable::End;

/// The listener: connections arrive here.
#[derive(Debug)]
pub(crate) struct Door(pub(super) mpsc::UnboundedReceiver<End>);

/// Serves connections until `stop`, then finishes the requests in flight, as `process::serve` does over TCP.
pub(crate) async fn serve(
    mut door: Door,
    router: Router,
    serving: Serving,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let app = process::serve::app(router, &serving);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = connections.join_next(), if !connections.is_empty() => {}
            end = door.0.recv() => {
                let Some(end) = end else { break };
                connections.spawn(connection(end, app.clone(), stop.clone()));
            }
        }
    }
    drop(door);
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(process::serve::DRAIN_WITHIN, finish).await;
    Ok(())
}

async fn connection(end: End, app: Router, stop: CancellationToken) {
    let connection = http1::Builder::new().serve_connection(TokioIo::new(end), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection.with_upgrades());
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = connection.as_mut() => return,
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
