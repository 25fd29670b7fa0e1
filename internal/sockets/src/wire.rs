//! The websocket itself: texts in and out, with a bound on how long a device may keep the node waiting.

use std::time::Duration;

use api::{CloseCode, ServerFrame};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::handshake::Socket;

/// How long the end may take: the close frame to go out, the device's to come, and the connection to be let go.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(2);

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

/// An open websocket.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    /// How long the device may take nothing.
    write_wait: Duration,
}

impl Wire {
    pub(crate) fn new(socket: Socket, write_wait: Duration) -> Self {
        Self { socket, write_wait }
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
        match timeout(self.write_wait, self.socket.feed(Message::Text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ending::Gone),
            Err(_) => Err(Ending::Close(CloseCode::Slow)),
        }
    }

    /// Writes what is in the queue.
    pub(crate) async fn flush(&mut self) -> Result<(), Ending> {
        match timeout(self.write_wait, self.socket.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ending::Gone),
            Err(_) => Err(Ending::Close(CloseCode::Slow)),
        }
    }

    /// Puts one of the server's own frames into the queue.
    pub(crate) async fn feed_frame(&mut self, frame: &ServerFrame) -> Result<(), Ending> {
        let text = serde_json::to_string(frame).expect("frames are plain data");
        self.feed(text.into()).await
    }

    /// Ends the socket in order, within [`CLOSE_WAIT`]: both close frames, then the node's end of the connection, then
    /// the device's. A connection that is dropped with bytes unread is reset, and takes with it what the device has not
    /// read yet: the close frame, of all things.
    pub(crate) async fn end(mut self, ending: Ending) {
        let closing = async {
            match ending {
                Ending::Gone => return,
                Ending::Left => {} // the answer is queued: hearing on sends it
                Ending::Close(code) => {
                    let (code, reason) = (code.number().into(), Utf8Bytes::from_static(code.reason()));
                    if self.socket.send(Message::Close(Some(CloseFrame { code, reason }))).await.is_err() {
                        return;
                    }
                }
            }
            // Until the device's close frame came, or what comes is no websocket any more.
            while let Some(Ok(_)) = self.socket.next().await {}
            let connection = self.socket.get_mut();
            let mut waste = [0; 2048];
            if connection.shutdown().await.is_ok() {
                while matches!(connection.read(&mut waste).await, Ok(1..)) {}
            }
        };
        let _ = timeout(CLOSE_WAIT, Box::pin(closing)).await;
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
