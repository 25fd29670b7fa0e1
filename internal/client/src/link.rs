//! One socket, in a task of its own between two bounded channels. The channels make reading and writing cancel
//! safe.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use protocol::{ClientFrame, CloseCode};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::error::ClientError;
use crate::http::{Access, Http, socket_url};

/// How long connecting may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long a server may take to answer a close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that a server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Frames that wait between the socket's task and the client, in each direction. At the bound the task stops
/// reading.
const FRAMES_WAITING_MAX: usize = 256;
/// The largest frame, in bytes. A record of the log has a megabyte at most.
const FRAME_BYTES_MAX: usize = 4 << 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What the socket's task reports.
#[derive(Debug)]
pub(crate) enum FromSocket {
    Text(String),
    Closed { code: Option<u16>, reason: String },
}

/// An open socket.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) out: mpsc::Sender<String>,
    pub(crate) inbound: mpsc::Receiver<FromSocket>,
    /// When the token that it was opened with is to be renewed.
    pub(crate) renew_at: Instant,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Writes what is queued, closes the socket and waits for it, within a bound.
    pub(crate) async fn close(mut self) {
        let (closed, _) = mpsc::channel(1);
        self.out = closed;
        self.inbound.close();
        // Frames that came meanwhile are dropped, so that the task is not blocked by a full channel.
        while self.inbound.try_recv().is_ok() {}
        let _ = timeout(CLOSE_WAIT, &mut self.task).await;
    }
}

/// Why there is no socket.
#[derive(Debug)]
pub(crate) enum NoLink {
    /// Worth a retry, after that time if the server gave one.
    Later(String, Option<Duration>),
    /// A retry is of no use.
    Never(String),
}

/// Connects to the websocket service at the base URL `node`, as a user of that partition. If the server refuses the token,
/// it is refreshed once.
pub(crate) async fn connect(http: &Http, node: &str, partition: Option<u32>) -> Result<Link, NoLink> {
    let access = http.access().await.map_err(signed_out)?;
    match open(node, partition, &access).await {
        Err(error) if status_of(&error) == Some(401) => {
            let access = http.refresh(&access.token).await.map_err(signed_out)?;
            open(node, partition, &access).await.map_err(|error| refused(&error))
        }
        opened => opened.map_err(|error| refused(&error)),
    }
}

async fn open(node: &str, partition: Option<u32>, access: &Access) -> Result<Link, Error> {
    let mut request = socket_url(node, partition).into_client_request()?;
    let value = HeaderValue::try_from(format!("Bearer {}", access.token.expose()));
    request.headers_mut().insert(header::AUTHORIZATION, value.map_err(|error| Error::HttpFormat(error.into()))?);
    let config = WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .read_buffer_size(4096);
    let connecting = connect_async_with_config(request, Some(config), true);
    let (socket, _) = timeout(CONNECT_WAIT, connecting)
        .await
        .unwrap_or_else(|_| Err(Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))))?;
    let (out, frames) = mpsc::channel(FRAMES_WAITING_MAX);
    let (deliver, inbound) = mpsc::channel(FRAMES_WAITING_MAX);
    Ok(Link { out, inbound, renew_at: access.renew_at, task: tokio::spawn(pump(socket, frames, deliver)) })
}

fn signed_out(error: ClientError) -> NoLink {
    match error {
        ClientError::Refused { code, message, .. } if code.status() == 401 => NoLink::Never(message),
        error => NoLink::Later(error.to_string(), error.retry_after()),
    }
}

fn status_of(error: &Error) -> Option<u16> {
    match error {
        Error::Http(response) => Some(response.status().as_u16()),
        _ => None,
    }
}

fn refused(error: &Error) -> NoLink {
    match status_of(error) {
        Some(401) => NoLink::Never("the server does not accept the token".into()),
        Some(403) => NoLink::Never("the server does not accept sockets from here".into()),
        Some(404) => NoLink::Later("there is no socket at this address".into(), None),
        Some(status) => NoLink::Later(format!("the server answers {status}"), retry_after(error)),
        None => NoLink::Later(error.to_string(), None),
    }
}

/// The wait that the server asks for.
fn retry_after(error: &Error) -> Option<Duration> {
    let Error::Http(response) = error else { return None };
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// Moves frames in both directions until one side ends. Both run concurrently: a node that waits until its frames
/// are read does not read meanwhile, so a client that only writes would block for ever, again after each
/// reconnect.
async fn pump(socket: Socket, mut frames: mpsc::Receiver<String>, deliver: mpsc::Sender<FromSocket>) {
    let (mut out, mut inbound) = socket.split();
    let ended = tokio::select! {
        biased;
        written = write(&mut out, &mut frames) => written.err().map(|error| closed_by(&error)),
        closed = read(&mut inbound, &deliver) => closed,
    };
    match (ended, out.reunite(inbound)) {
        // If the client no longer receives, nothing is left to do.
        (Some(closed), _) => drop(deliver.send(closed).await),
        (None, Ok(socket)) => hang_up(socket).await,
        (None, Err(_)) => {}
    }
}

/// Writes frames, with one flush for all that are queued, until the channel is closed.
async fn write(out: &mut SplitSink<Socket, Message>, frames: &mut mpsc::Receiver<String>) -> Result<(), Error> {
    while let Some(first) = frames.recv().await {
        out.feed(Message::text(first)).await?;
        while let Ok(frame) = frames.try_recv() {
            out.feed(Message::text(frame)).await?;
        }
        out.flush().await?;
    }
    Ok(())
}

/// Reads until the socket is closed, and returns how it was; `None` when the client no longer receives.
async fn read(inbound: &mut SplitStream<Socket>, deliver: &mpsc::Sender<FromSocket>) -> Option<FromSocket> {
    loop {
        match inbound.next().await {
            Some(Ok(Message::Text(text))) => {
                deliver.send(FromSocket::Text(text.as_str().to_owned())).await.ok()?;
            }
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = frame
                    .map_or((None, String::new()), |frame| (Some(frame.code.into()), frame.reason.as_str().to_owned()));
                return Some(FromSocket::Closed { code, reason });
            }
            Some(Ok(Message::Binary(_))) => {
                return Some(FromSocket::Closed { code: None, reason: "the server sent a binary frame".into() });
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return Some(closed_by(&error)),
            None => return Some(FromSocket::Closed { code: None, reason: "the connection ended".into() }),
        }
    }
}

async fn hang_up(mut socket: Socket) {
    let closing = async {
        if socket.close(None).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(CLOSE_WAIT, closing).await;
}

fn closed_by(error: &Error) -> FromSocket {
    FromSocket::Closed { code: None, reason: error.to_string() }
}

/// A frame as JSON text.
pub(crate) fn text_of(frame: &ClientFrame) -> Result<String, ClientError> {
    serde_json::to_string(frame).map_err(|error| ClientError::Malformed(error.to_string()))
}

/// What to do after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Reconnect at once, after a little jitter.
    Soon,
    /// Reconnect with back-off.
    Later,
    /// Reconnect with a back-off that begins higher: the connection broke without a close frame.
    Broken,
    /// Reconnect with a back-off of seconds: sooner, this socket would in turn displace another one of the user.
    MuchLater,
    /// Reconnect when the server asks for it, and a random moment later.
    In(Duration),
    /// Do not reconnect.
    Stop,
}

/// What to do after a close with that code.
pub(crate) fn after(code: Option<u16>) -> After {
    match code {
        Some(code) if !CloseCode::reconnect(code) => After::Stop,
        Some(code) if code == CloseCode::Draining.number() || code == CloseCode::TokenExpired.number() => After::Soon,
        Some(code) if code == CloseCode::TooMany.number() => After::MuchLater,
        Some(_) => After::Later,
        None => After::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_code_says_when_to_come_back() {
        let then = |code: CloseCode| after(Some(code.number()));
        assert_eq!(then(CloseCode::Draining), After::Soon);
        assert_eq!(then(CloseCode::Slow), After::Later);
        assert_eq!(then(CloseCode::TooMany), After::MuchLater, "at once it would be the next one's turn to go");
        assert_eq!(then(CloseCode::Unauthorized), After::Stop);
        assert_eq!(after(None), After::Broken);
    }
}
