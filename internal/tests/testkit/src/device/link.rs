//! The socket of a device.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use protocol::{ClientFrame, CloseCode};
use secret::Secret;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::http::{Access, Http};
use super::network::Stream;

/// The longest that opening a socket may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A write that takes longer than this ends the connection.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// An open socket.
pub(crate) struct Link {
    socket: WebSocketStream<Box<dyn Stream>>,
    /// When its access token is to be replaced.
    pub(crate) renew_at: Instant,
    /// Messages that were read while something was being written.
    read: VecDeque<Message>,
}

/// Why a connection ended, or could not be opened.
#[derive(Debug, Clone)]
pub(crate) struct End {
    /// The reason, for the journal: one of few texts, so that they can be counted.
    pub(crate) why: String,
    /// What the range of the close code, or the refusal, tells the device to do.
    pub(crate) then: Then,
}

/// What a device does after the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Connects again.
    Again,
    /// Connects again with another token.
    Renew,
    /// Stops and tells the user.
    Stop,
}

impl End {
    pub(crate) fn again(why: impl Into<String>) -> Self {
        Self { why: why.into(), then: Then::Again }
    }
}

impl Link {
    /// Opens a socket. With `native`, the token goes into a header, as native programs may do; otherwise it is
    /// returned, for the `hello`. A balancer may route by `partition`.
    pub(crate) async fn open(
        http: &Http,
        base: &str,
        partition: Option<u32>,
        native: bool,
    ) -> Result<(Self, Option<Secret>), End> {
        let Access { token, until } = http.access().await.map_err(|error| End::again(format!("no token: {error}")))?;
        let query = partition.map(|partition| format!("?p={partition}")).unwrap_or_default();
        let url = format!("{}/v1/socket{query}", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().map_err(|error| End::again(error.to_string()))?;
        if native {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let value = value.map_err(|error| End::again(error.to_string()))?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let opening = async { client_async(request, http.connect(base).await?).await };
        match timeout(CONNECT_WITHIN, opening).await {
            Err(_) => Err(End::again("connecting takes too long")),
            Ok(Err(Error::Http(answer))) if answer.status() == 401 => {
                Err(End { why: "the upgrade was unauthorized".into(), then: Then::Renew })
            }
            Ok(Err(Error::Http(answer))) => Err(End::again(format!("the upgrade was answered {}", answer.status()))),
            Ok(Err(_)) => Err(End::again("no connection")),
            Ok(Ok((socket, _))) => {
                Ok((Self { socket, renew_at: until, read: VecDeque::new() }, (!native).then_some(token)))
            }
        }
    }

    /// Sends a frame, and reads meanwhile: a node whose frames are not read stops reading, too.
    pub(crate) async fn send(&mut self, frame: &ClientFrame) -> Result<(), End> {
        let mut message = Some(Message::text(serde_json::to_string(frame).expect("frames are plain data")));
        let sent = poll_fn(|context| {
            // A close frame is the last message; the caller finds it when it reads on.
            while let Poll::Ready(Some(Ok(message))) = self.socket.poll_next_unpin(context) {
                self.read.push_back(message);
            }
            if message.is_some() {
                ready!(self.socket.poll_ready_unpin(context))?;
            }
            if let Some(message) = message.take() {
                self.socket.start_send_unpin(message)?;
            }
            self.socket.poll_flush_unpin(context)
        });
        match timeout(WRITE_WITHIN, sent).await {
            Ok(Ok(())) => Ok(()),
            // The messages that the node sent before the connection broke are still to be read.
            Ok(Err(_)) if self.read.is_empty() => Err(End::again("broken while writing")),
            Ok(Err(_)) => Ok(()),
            Err(_) => Err(End::again("the node takes nothing")),
        }
    }

    /// The next text. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<String, End> {
        loop {
            let next = match self.read.pop_front() {
                Some(message) => Some(Ok(message)),
                None => self.socket.next().await,
            };
            match next {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Close(frame))) => {
                    let Some(frame) = frame else { return Err(End::again("closed without a code")) };
                    let code = u16::from(frame.code);
                    let then = if !CloseCode::reconnect(code) {
                        Then::Stop
                    } else if code == CloseCode::TokenExpired.number() {
                        Then::Renew
                    } else {
                        Then::Again
                    };
                    return Err(End { why: format!("closed with {code}: {}", frame.reason), then });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) => return Err(End::again("broken while reading")),
                None => return Err(End::again("ended")),
            }
        }
    }
}
