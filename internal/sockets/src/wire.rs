//! The websocket: text messages in and out, with a bound on how long a device may block the node's writes.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryFutureExt};
use protocol::{CloseCode, ServerFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::unconstrained;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::budget::{Budget, SIGNS_BURST, SIGNS_PER_SECOND};
use crate::handshake::Socket;
use crate::node_clock::NodeClock;
use crate::text_frame::TextFrame;
use crate::write_queue::WriteQueue;

/// How long closing may take: sending the close frame, receiving the device's, and closing the connection.
pub const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// The bytes of texts that are kept of a device which waits to be welcomed, and one text more. Beyond, the node does not
/// read from it until it is welcomed, and does not notice that it leaves.
const AHEAD_BYTES_MAX: usize = 4 * 1024;
/// What a text that is kept counts at least, in bytes.
const AHEAD_TEXT_COST: usize = 64;

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The node closes it, with this code.
    Close(CloseCode),
    /// The node closes it: too many devices wait to be welcomed.
    Crowded,
    /// The device closes it, with a close frame.
    Left,
    /// The connection broke.
    Gone,
}

/// What was received from the device.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A text message: a frame of the protocol, or a malformed one.
    Text(Utf8Bytes),
    /// A ping or pong of the websocket.
    Sign,
}

/// Whether a write waits until the device reads. If it does, the device is the one that is behind; otherwise the
/// node is.
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
    queue: WriteQueue,
    /// Texts that came while the device waited, the oldest first: [`Self::hear`] returns them before it reads on.
    ahead: VecDeque<Utf8Bytes>,
}

/// The bound on how long a device may read nothing.
#[derive(Debug)]
struct Patience {
    node_clock: Arc<NodeClock>,
    write_wait: Duration,
    blocked: Blocked,
}

impl Patience {
    /// Completes a write. It continues for as long as the device reads something within `write_wait`, measured on
    /// the node's clock.
    async fn written(&self, write: impl Future<Output = Result<(), Error>>) -> Result<(), Ending> {
        // Without tokio's cooperative budget: if the write is pending now, it does wait for the device to read.
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
        let patience = Patience { node_clock, write_wait, blocked: Blocked::default() };
        Self { socket, patience, queue: WriteQueue::default(), ahead: VecDeque::new() }
    }

    /// A handle to whether a write waits for the device.
    pub(crate) fn blocked(&self) -> Blocked {
        self.patience.blocked.clone()
    }

    /// The next message from the device. Cancel safe.
    pub(crate) async fn hear(&mut self) -> Result<Heard, Ending> {
        match self.ahead.pop_front() {
            Some(text) => Ok(Heard::Text(text)),
            None => self.receive().await,
        }
    }

    /// Listens to a device whose frames cannot be handled yet, and returns why its socket ends, when it does. Texts are
    /// kept for [`Self::hear`]. Cancel safe.
    pub(crate) async fn ended_while_waiting(&mut self) -> Ending {
        let mut signs = Budget::new(SIGNS_BURST, SIGNS_PER_SECOND);
        let mut bytes = 0;
        while bytes < AHEAD_BYTES_MAX {
            match self.receive().await {
                Ok(Heard::Text(text)) => {
                    bytes += text.len().max(AHEAD_TEXT_COST);
                    self.ahead.push_back(text);
                }
                Ok(Heard::Sign) if signs.spend() => {}
                Ok(Heard::Sign) => return Ending::Close(CloseCode::Protocol),
                Err(ending) => return ending,
            }
        }
        pending().await
    }

    async fn receive(&mut self) -> Result<Heard, Ending> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => Ok(Heard::Text(text)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Heard::Sign),
            Some(Ok(Message::Binary(_))) => Err(Ending::Close(CloseCode::Protocol)),
            Some(Ok(Message::Close(_))) => Err(Ending::Left),
            None => Err(Ending::Gone),
            Some(Err(error)) => Err(ending_of(&error)),
        }
    }

    /// Queues a text; [`Self::flush`] writes it. Whoever queues bounds how much.
    pub(crate) fn feed(&mut self, text: TextFrame) {
        self.queue.push(text);
    }

    /// Queues a server frame.
    pub(crate) fn feed_frame(&mut self, frame: &ServerFrame) {
        let text = serde_json::to_string(frame).expect("frames are plain data");
        self.feed(TextFrame::new(&text));
    }

    /// Writes the queue. Where this is cancelled, nothing may be written but by [`Self::end`].
    pub(crate) async fn flush(&mut self) -> Result<(), Ending> {
        let Self { socket, patience, queue, .. } = self;
        // Pongs first: what the library has begun to write must not be cut in two.
        patience.written(socket.flush()).await?;
        while !queue.is_empty() {
            patience.written(queue.write_some(socket.get_mut()).map_err(Error::Io)).await?;
        }
        Ok(())
    }

    /// Closes the socket in order, within [`CLOSE_WAIT`]: both close frames, then the node's side of the
    /// connection, then the device's. A connection that is dropped with unread bytes is reset, and a reset
    /// discards what the device has not read yet, among it the close frame.
    pub(crate) async fn end(self, ending: Ending) {
        let Self { mut socket, patience, queue, ahead: _ } = self;
        let closing = async {
            // The device cannot read a close frame in the middle of another one.
            if queue.finish(socket.get_mut()).await.is_err() {
                return;
            }
            let close = match ending {
                Ending::Gone => return,
                Ending::Left => None, // the answering close frame is queued; reading on sends it
                Ending::Close(code) => Some((code, code.reason())),
                Ending::Crowded => Some((CloseCode::TooMany, CloseCode::CROWDED)),
            };
            if let Some((code, reason)) = close {
                let (code, reason) = (code.number().into(), Utf8Bytes::from_static(reason));
                if socket.send(Message::Close(Some(CloseFrame { code, reason }))).await.is_err() {
                    return;
                }
            }
            // Until the device's close frame was read, or the stream is no websocket any more.
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
        // A connection that ends without a close frame is reported as a protocol error, too.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ending::Gone,
        Error::Protocol(_) => Ending::Close(CloseCode::Protocol),
        _ => Ending::Gone,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Issue 10, item 7: only time in which the node tries to write counts towards `Slow`.
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
