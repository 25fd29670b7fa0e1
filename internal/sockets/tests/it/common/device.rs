//! A device on a real socket.

use std::net::SocketAddr;

use domain::Cursor;
use futures_util::{SinkExt, StreamExt};
use protocol::{FeedFrame, FeedKind, Received, ServerFrame, SignalFrame};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async};

use super::PATIENCE;

pub struct Device {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What a node sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Server(ServerFrame),
    Feed(Received),
    Signal(SignalFrame),
    /// Closed, with the code if there was one.
    Closed(Option<u16>),
}

impl Device {
    pub async fn open(address: SocketAddr, token: Option<&str>) -> Result<Self, Box<Error>> {
        Self::open_from(address, token, None, "/v1/socket").await
    }

    pub async fn open_from(
        address: SocketAddr,
        token: Option<&str>,
        origin: Option<&str>,
        path: &str,
    ) -> Result<Self, Box<Error>> {
        let token = token.map(|token| ("authorization", format!("Bearer {token}")));
        let headers: Vec<_> = token.into_iter().chain(origin.map(|origin| ("origin", origin.to_owned()))).collect();
        Self::open_with(address, &headers, path).await
    }

    pub async fn open_with(
        address: SocketAddr,
        headers: &[(&'static str, String)],
        path: &str,
    ) -> Result<Self, Box<Error>> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        // A small buffer, so that frames which a device does not read soon stay with the node.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(address).await.map_err(Error::Io)?;
        stream.set_nodelay(true).unwrap();
        let opened = timeout(PATIENCE, client_async(request, MaybeTlsStream::Plain(stream))).await;
        Ok(Self { socket: opened.expect("opens in time")?.0 })
    }

    pub async fn hello(&mut self, token: Option<&str>, cursor: Option<&str>) {
        let hello = serde_json::json!({ "type": "hello", "token": token, "cursor": cursor });
        self.say(&hello.to_string()).await;
    }

    pub async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next thing from the node.
    pub async fn hear(&mut self) -> Said {
        let heard = timeout(PATIENCE, async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return said(&text),
                    Some(Ok(Message::Close(close))) => return Said::Closed(close.map(|close| close.code.into())),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Said::Closed(None),
                }
            }
        });
        heard.await.expect("the node says something in time")
    }

    /// The next thing that is no ping; pings are answered.
    pub async fn hear_news(&mut self) -> Said {
        let heard = timeout(PATIENCE, async {
            loop {
                match self.hear().await {
                    Said::Server(ServerFrame::Ping { .. }) => self.say(r#"{"type":"pong"}"#).await,
                    said => return said,
                }
            }
        });
        heard.await.expect("the node says something new in time")
    }

    /// The cursor and the reset of the welcome, which must come next.
    pub async fn welcome(&mut self) -> (Cursor, Option<String>) {
        match self.hear_news().await {
            Said::Server(ServerFrame::Welcome { cursor, reset, .. }) => (cursor, reset),
            other => panic!("not a welcome: {other:?}"),
        }
    }

    /// The next frame of the feed.
    pub async fn feed(&mut self) -> Received {
        match self.hear_news().await {
            Said::Feed(received) => received,
            other => panic!("not a feed frame: {other:?}"),
        }
    }

    /// The numbers of the next `count` messages, and the cursor of the last one.
    pub async fn messages(&mut self, count: usize) -> (Vec<u64>, Option<Cursor>) {
        let (mut numbers, mut cursor) = (Vec::new(), None);
        for _ in 0..count {
            let received = self.feed().await;
            numbers.push(number_of(&received.frame));
            cursor = Some(received.cursor);
        }
        (numbers, cursor)
    }

    /// The code that the node closes with; frames before it are skipped.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Said::Closed(code) = self.hear().await {
                return code;
            }
        }
    }

    pub async fn leave(mut self) {
        let _ = self.socket.close(None).await;
    }
}

pub fn number_of(frame: &FeedFrame) -> u64 {
    match frame {
        FeedFrame::Event { seq, what: FeedKind::Message { .. }, .. } => u64::from(*seq),
        other => panic!("not a message: {other:?}"),
    }
}

fn said(text: &str) -> Said {
    let value: Value = serde_json::from_str(text).unwrap();
    if value.get("cursor").is_some() && !matches!(value["type"].as_str(), Some("welcome" | "ping" | "batch")) {
        Said::Feed(serde_json::from_value(value).unwrap())
    } else if value["type"].as_str().is_some_and(|kind| SignalFrame::TYPES.contains(&kind)) {
        Said::Signal(serde_json::from_value(value).unwrap())
    } else {
        Said::Server(serde_json::from_value(value).unwrap())
    }
}
