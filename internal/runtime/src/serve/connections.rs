//! Connections: at most so many, each served until it ends, and none of them held for nothing.
//!
//! Not by `axum::serve`, which gives hyper no timer: a client that says nothing could keep its connection for ever.

use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::{HEAD_WITHIN, TAKEN_WITHIN};

/// Accepts only while fewer than the bound are open; what comes meanwhile waits in the operating system's queue.
pub(super) struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
    open: Gauge,
}

/// A connection and its place under the bound.
pub(super) struct Connection {
    stream: TcpStream,
    /// When a client that takes nothing of what is written is given up; none while it takes.
    given_up: Option<Pin<Box<Sleep>>>,
    /// Set when HTTP is done with it: it is over, or a socket's.
    handed_on: Arc<AtomicBool>,
    open: Gauge,
    _place: OwnedSemaphorePermit,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, connections_max: usize, open: Gauge) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(connections_max)), open }
    }

    /// The next connection. Given up half-way, it loses none.
    pub(super) async fn accept(&mut self) -> Connection {
        let place = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
        // Axum's own accept logs an error, waits and goes on.
        let (stream, _) = Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        self.open.inc();
        Connection { stream, given_up: None, handed_on: Arc::default(), open: self.open.clone(), _place: place }
    }
}

/// Serves the connection until it ends or is upgraded; once `shutdown` is cancelled, until what came in is answered.
pub(super) async fn serve(connection: Connection, app: Router, shutdown: CancellationToken) {
    let handed_on = connection.handed_on.clone();
    // Hyper's time for a head runs from where it begins to wait for one, after an answer as well as at first.
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(app))
        .with_upgrades();
    let mut served = pin!(served);
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    handed_on.store(true, Ordering::Relaxed);
    if let Err(error) = ended {
        tracing::debug!(%error, "connection given up");
    }
}

impl Connection {
    /// The outcome of a write; an error when it has been waiting for the client for too long.
    fn taken(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() || self.handed_on.load(Ordering::Relaxed) {
            self.given_up = None;
            return written;
        }
        let given_up = self.given_up.get_or_insert_with(|| Box::pin(tokio::time::sleep(TAKEN_WITHIN)));
        ready!(given_up.as_mut().poll(context));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.taken(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.taken(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
