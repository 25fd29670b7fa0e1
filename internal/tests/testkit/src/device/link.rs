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

/// Longer than any node takes for an upgrade.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A node that takes nothing for so long is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// An open socket.
pub(crate) struct Link {
    socket: WebSocketStream<Box<dyn Stream>>,
    /// When its token is to be replaced.
    pub(crate) renew_at: Instant,
    /// Read while something was being written.
    read: VecDeque<Message>,
}

/// Why a connection ended, or did not come about.
#[derive(Debug, Clone)]
pub(crate) struct End {
    /// For the journal: few different texts.
    pub(crate) why: String,
    /// What the close code's range, or the refusal, tells the device to do.
    pub(crate) then: Then,
}

/// What to do after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Come back.
    Again,
    /// Come back with another token.
    Renew,
    /// Stop and tell the user.
    Stop,
}

impl End {
    pub(crate) fn again(why: impl Into<String>) -> Self {
        Self { why: why.into(), then: Then::Again }
    }
}

impl Link {
    /// Opens a socket. `native`: the token goes into a header, as programs may; else it goes into the hello.
    pub(crate) async fn open(http: &Http, base: &str, native: bool) -> Result<(Self, Option<Secret>), End> {
        let Access { token, until } = http.access().await.map_err(|error| End::again(format!("no token: {error}")))?;
        let url = format!("{}/v1/socket", base.replacen("http", "ws", 1));
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

    /// Sends a frame, and reads meanwhile: a node that waits for its frames to be taken takes none.
    pub(crate) async fn send(&mut self, frame: &ClientFrame) -> Result<(), End> {
        let mut message = Some(Message::text(serde_json::to_string(frame).expect("frames are plain data")));
        let sent = poll_fn(|context| {
            // A close is the last message, and found by who reads on.
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
            // What the node had said before it went counts.
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
