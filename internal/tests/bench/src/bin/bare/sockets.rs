//! Sockets of users, with the library that the websocket service has, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::stream::FuturesOrdered;
use futures_util::{SinkExt as _, StreamExt as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::two_hops::FIRST;

/// Records that wait for one socket.
const WAITING_MAX: usize = 256;
/// Records that are written in one flush.
const FLUSH_RECORDS: usize = 64;

/// The sockets by their users' ids, as text.
#[derive(Default)]
pub(crate) struct Sockets {
    open: Mutex<HashMap<Vec<u8>, mpsc::Sender<Bytes>>>,
    /// Where messages go; without it, they are ignored.
    producer: Option<FutureProducer>,
}

impl Sockets {
    pub(crate) fn taking_messages(producer: FutureProducer) -> Self {
        Self { producer: Some(producer), ..Self::default() }
    }

    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> Result<()> {
        loop {
            let (connection, _) = listener.accept().await?;
            let sockets = Arc::clone(&self);
            tokio::spawn(async move { sockets.one(connection).await });
        }
    }

    /// Hands a frame over to the user's socket, if there is one; waits for room.
    pub(crate) fn write(&self, user: &[u8], frame: &[u8]) {
        let socket = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(user).cloned();
        if let Some(socket) = socket {
            let _ = socket.blocking_send(Bytes::copy_from_slice(frame)); // fails when the socket has ended
        }
    }

    async fn one(&self, mut connection: TcpStream) -> Result<()> {
        let mut begun = [0; 16];
        let bytes = connection.peek(&mut begun).await?;
        if begun[..bytes].starts_with(b"GET /readyz") {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            return Ok(connection.write_all(answer).await?);
        }
        connection.set_nodelay(true)?;
        let mut user = String::new();
        #[allow(clippy::result_large_err)] // tungstenite's signature
        let note_user = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let bearer = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            user = bearer.unwrap_or_default().trim_start_matches("Bearer ").to_owned();
            Ok(response)
        };
        let (mut out, mut from) = accept_hdr_async(connection, note_user).await?.split();
        let (sender, mut records) = mpsc::channel(WAITING_MAX);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(user.clone().into_bytes(), sender);
        out.send(Message::text(r#"{"type":"welcome"}"#)).await?;
        let (mut some, mut appended) = (Vec::with_capacity(FLUSH_RECORDS), FuturesOrdered::new());
        loop {
            tokio::select! {
                count = records.recv_many(&mut some, FLUSH_RECORDS) => {
                    if count == 0 {
                        return Ok(());
                    }
                    for record in some.drain(..) {
                        out.feed(Message::Binary(record)).await?;
                    }
                    out.flush().await?;
                }
                Some(ack) = appended.next(), if !appended.is_empty() => out.send(Message::text(ack?)).await?,
                heard = from.next() => match heard {
                    Some(Ok(Message::Text(text))) => match Command::of(&text) {
                        Some(Command::Create { id, other }) => {
                            let conversation = format!("{user}.{other}");
                            out.send(Message::text(ack(id, &conversation))).await?;
                        }
                        Some(Command::Send { id, conversation }) => appended.push_back(self.append(id, conversation, &text)),
                        None => {}
                    },
                    Some(Ok(_)) => {}
                    _ => return Ok(()),
                },
            }
        }
    }

    /// Appends the message to the first topic. The future ends with its `ack`.
    fn append(&self, id: &str, conversation: &str, text: &str) -> impl Future<Output = Result<String>> + use<> {
        let record = FutureRecord::to(FIRST).key(conversation).payload(text);
        let appending = match &self.producer {
            Some(producer) => producer.send_result(record).ok(),
            None => None,
        };
        let ack = ack(id, conversation);
        async move {
            appending.context("a message was not taken")?.await?.map_err(|(error, _)| error)?;
            Ok(ack)
        }
    }
}

/// What a device sends.
enum Command<'a> {
    Create { id: &'a str, other: &'a str },
    Send { id: &'a str, conversation: &'a str },
}

impl<'a> Command<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let after = |part: &str| text.split_once(part)?.1.split('"').next();
        match after(r#""type":""#)? {
            "create" => Some(Self::Create { id: after(r#""id":""#)?, other: after(r#""members":[""#)? }),
            "send" => Some(Self::Send { id: after(r#""id":""#)?, conversation: after(r#""conversation":""#)? }),
            _ => None,
        }
    }
}

fn ack(id: &str, conversation: &str) -> String {
    format!(r#"{{"type":"ack","id":"{id}","conversation":"{conversation}"}}"#)
}
