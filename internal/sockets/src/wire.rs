//! The websocket itself: texts in and out, with a bound on how long a device may keep the node waiting.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use protocol::{CloseCode, ServerFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::unconstrained;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::handshake::Socket;
use crate::node_clock::NodeClock;

/// How long the end may take: the close frame to go out, the device's to come, and the connection to be let go.
pub const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The node ends it.
    Close(CloseCode),
    /// The device ends it, with a close frame.
    Left,
    /// The connection broke.
    Gone,
}

/// What came from the device.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A frame of the protocol.
    Text(Utf8Bytes),
    /// A sign of life, nothing else.
    Sign,
}

/// Whether a device is to take what was written to it before the node can write more: then it is the device that is
/// behind, and else the node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocked(Arc<AtomicBool>);

impl Blocked {
    pub(crate) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, blocked: bool) {
        self.0.store(blocked, Ordering::Relaxed);
    }
}

/// An open websocket.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    patience: Patience,
}

/// How long a device may take nothing.
#[derive(Debug)]
struct Patience {
    node_clock: Arc<NodeClock>,
    write_wait: Duration,
    blocked: Blocked,
}

impl Patience {
    /// The end of a write. It goes on for as long as the device takes something within the wait, which counts only while
    /// the node is awake to write.
    async fn written(&self, write: impl Future<Output = Result<(), Error>>) -> Result<(), Ending> {
        // Unconstrained: where it is not done at once, the device has to take something first.
        let mut write = pin!(unconstrained(write));
        let mut outcome = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        if outcome.is_pending() {
            self.blocked.set(true);
            let in_time = self.node_clock.within(self.write_wait, write).await;
            self.blocked.set(false);
            outcome = Poll::Ready(in_time.ok_or(Ending::Close(CloseCode::Slow))?);
        }
        match outcome {
            Poll::Ready(Ok(())) => Ok(()),
            _ => Err(Ending::Gone),
        }
    }
}

impl Wire {
    pub(crate) fn new(socket: Socket, node_clock: Arc<NodeClock>, write_wait: Duration) -> Self {
        Self { socket, patience: Patience { node_clock, write_wait, blocked: Blocked::default() } }
    }

    /// Whether the device is behind.
    pub(crate) fn blocked(&self) -> Blocked {
        self.patience.blocked.clone()
    }

    /// What the device sends next. Cancel safe.
    pub(crate) async fn hear(&mut self) -> Result<Heard, Ending> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => Ok(Heard::Text(text)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Heard::Sign),
            Some(Ok(Message::Binary(_))) => Err(Ending::Close(CloseCode::Protocol)),
            Some(Ok(Message::Close(_))) => Err(Ending::Left),
            None => Err(Ending::Gone),
            Some(Err(error)) => Err(ending_of(&error)),
        }
    }

    /// Puts a text into the queue, writing what is there first if that is much.
    pub(crate) async fn feed(&mut self, text: Utf8Bytes) -> Result<(), Ending> {
        self.patience.written(self.socket.feed(Message::Text(text))).await
    }

    /// Writes what is in the queue.
    pub(crate) async fn flush(&mut self) -> Result<(), Ending> {
        self.patience.written(self.socket.flush()).await
    }

    /// Puts one of the server's own frames into the queue.
    pub(crate) async fn feed_frame(&mut self, frame: &ServerFrame) -> Result<(), Ending> {
        let text = serde_json::to_string(frame).expect("frames are plain data");
        self.feed(text.into()).await
    }

    /// Ends the socket in order, within [`CLOSE_WAIT`]: both close frames, then the node's end of the connection, then
    /// the device's. A connection that is dropped with bytes unread is reset, and takes with it what the device has not
    /// read yet: the close frame, of all things.
    pub(crate) async fn end(self, ending: Ending) {
        let Self { mut socket, patience } = self;
        let closing = async {
            match ending {
                Ending::Gone => return,
                Ending::Left => {} // the answer is queued: hearing on sends it
                Ending::Close(code) => {
                    let (code, reason) = (code.number().into(), Utf8Bytes::from_static(code.reason()));
                    if socket.send(Message::Close(Some(CloseFrame { code, reason }))).await.is_err() {
                        return;
                    }
                }
            }
            // Until the device's close frame came, or what comes is no websocket any more.
            while let Some(Ok(_)) = socket.next().await {}
            let connection = socket.get_mut();
            let mut waste = [0; 2048];
            if connection.shutdown().await.is_ok() {
                while matches!(connection.read(&mut waste).await, Ok(1..)) {}
            }
        };
        let _ = patience.node_clock.within(CLOSE_WAIT, Box::pin(closing)).await;
    }
}

fn ending_of(error: &Error) -> Ending {
    match error {
        Error::Capacity(_) => Ending::Close(CloseCode::TooLarge),
        Error::Utf8(_) => Ending::Close(CloseCode::Protocol),
        // A connection that just ends, without a close frame, is reported as a breach of the protocol, too.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ending::Gone,
        Error::Protocol(_) => Ending::Close(CloseCode::Protocol),
        _ => Ending::Gone,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{advance, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Issue 10, item 7: a device is slow by what it did not take while the node tried to write to it.
    #[tokio::test(start_paused = true)]
    async fn a_stop_of_the_process_makes_no_device_slow() {
        let patience =
            Patience { node_clock: NodeClock::driven(), write_wait: SECOND * 10, blocked: Blocked::default() };
        let blocked = patience.blocked.clone();
        let written = tokio::spawn(async move { patience.written(pending()).await });
        sleep(SECOND).await;
        assert!(blocked.is());
        advance(SECOND * 3600).await;
        sleep(SECOND).await;
        assert!(!written.is_finished(), "nobody tried to write in that hour");
        sleep(SECOND * 9).await;
        assert_eq!(written.await.unwrap(), Err(Ending::Close(CloseCode::Slow)));
        assert!(!blocked.is());
    }
}
