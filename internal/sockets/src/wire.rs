//! The websocket itself: texts in and out, with a bound on how long a device may keep the node waiting.

use std::time::Duration;

use api::{CloseCode, ServerFrame};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use futures_util::SinkExt;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite;

/// The largest frame that a device may send.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// The eager part of a socket's memory. What is larger is grown into and given back.
const READ_BUFFER_BYTES: usize = 1024;
/// Frames are gathered up to so many bytes before they are written, or until the flush. Grown into when needed.
const WRITE_BUFFER_BYTES: usize = 2048;
/// How long the close frame may take to go out, and the device's answer to come.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The node ends it.
    Close(CloseCode),
    /// The device went, or its connection broke.
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
    socket: WebSocket,
    /// How long the device may take nothing.
    write_wait: Duration,
}

/// The bounds of a socket, for its upgrade.
pub(crate) fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
}

impl Wire {
    pub(crate) fn new(socket: WebSocket, write_wait: Duration) -> Self {
        Self { socket, write_wait }
    }

    /// What the device sends next. Cancel safe.
    pub(crate) async fn hear(&mut self) -> Result<Heard, Ending> {
        match self.socket.recv().await {
            Some(Ok(Message::Text(text))) => Ok(Heard::Text(text)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(Heard::Sign),
            Some(Ok(Message::Binary(_))) => Err(Ending::Close(CloseCode::Protocol)),
            Some(Ok(Message::Close(_))) | None => Err(Ending::Gone),
            Some(Err(error)) => Err(ending_of(error)),
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

    /// Says why and closes. Waits a moment for the device to see it: a connection that is dropped with bytes unread
    /// takes the close frame with it.
    pub(crate) async fn close(mut self, code: CloseCode) {
        let reason = Utf8Bytes::from_static(code.reason());
        let close = Message::Close(Some(CloseFrame { code: code.number(), reason }));
        if !matches!(timeout(CLOSE_WAIT, self.socket.send(close)).await, Ok(Ok(()))) {
            return;
        }
        if code == CloseCode::TooLarge {
            // The rest of that frame cannot be read past; the device may be writing it still.
            return sleep(CLOSE_WAIT).await;
        }
        let answered = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        let _ = timeout(CLOSE_WAIT, answered).await;
    }
}

fn ending_of(error: axum::Error) -> Ending {
    let cause = error.into_inner().downcast::<tungstenite::Error>();
    match cause.as_deref() {
        Ok(tungstenite::Error::Capacity(_)) => Ending::Close(CloseCode::TooLarge),
        Ok(tungstenite::Error::Utf8(_)) => Ending::Close(CloseCode::Protocol),
        // A connection that just ends, without a close frame, is reported as a breach of the protocol, too.
        Ok(tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
            Ending::Gone
        }
        Ok(tungstenite::Error::Protocol(_)) => Ending::Close(CloseCode::Protocol),
        _ => Ending::Gone,
    }
}
