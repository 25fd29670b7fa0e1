//! Accepts connections within the bounds, serves each until it ends, and closes those that do nothing.
//!
//! `axum::serve` is not used because it gives hyper no timer: a client that says nothing could keep its connection for
//! ever.

use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::client::Peer;

use super::connection_table::{ConnectionEntry, ConnectionTable};
use super::link::Link;
use super::write_budget::WriteBudget;
use super::{HEAD_BYTES_MAX, HEAD_WITHIN};

/// How long to wait after a failure to accept that will not pass at once, such as a lack of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Accepts only while there is room; further connections wait in the operating system's queue.
pub(super) struct Acceptor {
    listener: TcpListener,
    table: Arc<ConnectionTable>,
}

/// A connection and its entry in the table.
pub(super) struct Connection {
    stream: TcpStream,
    link: Link,
    budget: WriteBudget,
    peer: Peer,
    /// The time at which a client that reads nothing is given up; `None` while it reads.
    given_up: Option<Pin<Box<Sleep>>>,
    /// Resolves when the connection is to be closed to make room.
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    _entry: ConnectionEntry,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, table: ConnectionTable) -> Self {
        Self { listener, table: Arc::new(table) }
    }

    /// Accepts the next connection. Cancel-safe: no connection is lost.
    pub(super) async fn accept(&mut self) -> Connection {
        loop {
            self.table.room().await;
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_the_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, again_after = ?ACCEPT_AGAIN, "no connection could be accepted");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let link = Link::default();
            let Some(entry) = self.table.insert(peer.ip(), &link) else { continue };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
            let closing = Box::pin(link.closing().cancelled_owned());
            return Connection {
                stream,
                link,
                peer: Peer(peer.ip()),
                budget: WriteBudget::new(),
                given_up: None,
                closing,
                _entry: entry,
            };
        }
    }
}

/// Whether the error concerns only the connection that was about to be accepted.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

/// Serves the connection until it ends or is upgraded; once `shutdown` is cancelled, until what came in is answered.
pub(super) async fn serve(connection: Connection, app: Router, shutdown: CancellationToken) {
    let (link, peer, app) = (connection.link.clone(), connection.peer, TowerToHyperService::new(app));
    let known = link.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(known.clone());
        request.extensions_mut().insert(known.authenticated().clone());
        request.extensions_mut().insert(peer);
        app.call(request)
    });
    // Hyper's timeout for a head starts when it begins to wait for one, at first and after each answer.
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), service)
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
    // The HTTP connection is over, or upgraded to a socket.
    link.set_socket();
    if let Err(error) = ended {
        tracing::debug!(%error, "connection given up");
    }
}

impl Connection {
    /// Passes on the outcome of a write; an error when the write has been waiting for the client for too long.
    fn taken(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(taken) = &written {
            self.budget.bytes_read(taken.as_ref().copied().unwrap_or(0));
            self.given_up = None;
            return written;
        }
        ready!(self.stays(context))?;
        let budget = &mut self.budget;
        let given_up = self.given_up.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(budget.wait_began())));
        ready!(given_up.as_mut().poll(context));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    /// Fails once the connection is to be closed to make room.
    fn stays(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.closing.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(ErrorKind::ConnectionAborted.into())),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.stays(context))?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.taken(context, written)
    }

    /// Hyper flushes when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.unpin();
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

impl Drop for Connection {
    fn drop(&mut self) {
        // Handlers may hold the link a little longer; the memory is freed now.
        self.link.unpin();
    }
}
