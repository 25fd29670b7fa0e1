//! Connections: at most so many, each served until it ends, and none of them held for nothing.
//!
//! Not by `axum::serve`, which gives hyper no timer: a client that says nothing could keep its connection for ever.

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

use super::book::{Book, Place};
use super::link::Link;
use super::pace::Pace;
use super::{HEAD_BYTES_MAX, HEAD_WITHIN};

/// After a failure to accept that will not pass at once, such as a machine without descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Accepts only while there is room; what comes meanwhile waits in the operating system's queue.
pub(super) struct Door {
    listener: TcpListener,
    book: Arc<Book>,
}

/// A connection and its place under the bounds.
pub(super) struct Connection {
    stream: TcpStream,
    link: Link,
    pace: Pace,
    peer: Peer,
    /// When a client that takes nothing of what is written is given up; none while it takes.
    given_up: Option<Pin<Box<Sleep>>>,
    /// Comes when it is to make room for another.
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Place,
}

impl Door {
    pub(super) fn new(listener: TcpListener, book: Book) -> Self {
        Self { listener, book: Arc::new(book) }
    }

    /// The next connection. Given up half-way, it loses none.
    pub(super) async fn accept(&mut self) -> Connection {
        loop {
            self.book.room().await;
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
            let Some(place) = self.book.enter(peer.ip(), &link) else { continue };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
            let closing = Box::pin(link.closing().cancelled_owned());
            return Connection {
                stream,
                link,
                peer: Peer(peer.ip()),
                pace: Pace::new(),
                given_up: None,
                closing,
                _place: place,
            };
        }
    }
}

/// Whether only the connection that was about to be accepted is at fault.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

/// Serves the connection until it ends or is upgraded; once `shutdown` is cancelled, until what came in is answered.
pub(super) async fn serve(connection: Connection, app: Router, shutdown: CancellationToken) {
    let (link, peer, app) = (connection.link.clone(), connection.peer, TowerToHyperService::new(app));
    let known = link.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(known.clone());
        request.extensions_mut().insert(known.vouched().clone());
        request.extensions_mut().insert(peer);
        app.call(request)
    });
    // Hyper's time for a head runs from where it begins to wait for one, after an answer as well as at first.
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
    // Over, or a socket's.
    link.set_socket();
    if let Err(error) = ended {
        tracing::debug!(%error, "connection given up");
    }
}

impl Connection {
    /// The outcome of a write; an error when it has been waiting for the client for too long.
    fn taken(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(taken) = &written {
            self.pace.takes(taken.as_ref().copied().unwrap_or(0));
            self.given_up = None;
            return written;
        }
        ready!(self.stays(context))?;
        let pace = &mut self.pace;
        let given_up = self.given_up.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(pace.waits())));
        ready!(given_up.as_mut().poll(context));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    /// An error once it is to make room.
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
        // Handlers may hold the link a little longer; the memory is free now.
        self.link.unpin();
    }
}
