//! The floor of the websocket service: reads `chat.deliveries` with the bare driver, and writes each record, as it is,
//! to the socket of the user in its key. No cursors, no resume, no checks, no limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

const TOPIC: &str = "chat.deliveries";
/// Records that wait for one socket.
const WAITING_MAX: usize = 256;
/// Records that are written in one flush.
const FLUSH_RECORDS: usize = 64;
const REQUEST_WAIT: Duration = Duration::from_secs(30);

/// The sockets by their users' ids, as text.
type Sockets = Arc<Mutex<HashMap<Vec<u8>, mpsc::Sender<Bytes>>>>;

pub(crate) async fn run(arguments: Vec<String>) -> Result<()> {
    let mut arguments = arguments.into_iter().skip_while(|argument| argument != "--listen");
    let listen = arguments.nth(1).context("--listen ADDRESS")?;
    let sockets = Sockets::default();
    let consumer = at_the_end(&std::env::var("KLATSCH_KAFKA")?)?;
    let reading = Arc::clone(&sockets);
    std::thread::spawn(move || read(&consumer, &reading));
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(serve(connection, Arc::clone(&sockets)));
    }
}

/// A consumer of all partitions from their ends.
fn at_the_end(kafka: &str) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(TOPIC), REQUEST_WAIT)?;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (_, end) = consumer.fetch_watermarks(TOPIC, partition.id(), REQUEST_WAIT)?;
        partitions.add_partition_offset(TOPIC, partition.id(), Offset::Offset(end))?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

fn read(consumer: &BaseConsumer, sockets: &Sockets) {
    while let Some(polled) = consumer.poll(None) {
        let Ok(record) = polled else { continue };
        let (key, payload) = (record.key().unwrap_or_default(), record.payload().unwrap_or_default());
        let socket = sockets.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some(socket) = socket {
            let _ = socket.blocking_send(Bytes::copy_from_slice(payload)); // fails when the socket has ended
        }
    }
}

async fn serve(mut connection: TcpStream, sockets: Sockets) -> Result<()> {
    let mut begun = [0; 16];
    let bytes = connection.peek(&mut begun).await?;
    if begun[..bytes].starts_with(b"GET /readyz") {
        return Ok(connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?);
    }
    connection.set_nodelay(true)?;
    let mut user = Vec::new();
    #[allow(clippy::result_large_err)] // tungstenite's signature
    let note_user = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let bearer = request.headers().get("authorization").map(|value| value.as_bytes()).unwrap_or_default();
        user = bearer.strip_prefix(b"Bearer ").unwrap_or_default().to_vec();
        Ok(response)
    };
    let (mut out, mut from) = accept_hdr_async(connection, note_user).await?.split();
    let (sender, mut records) = mpsc::channel(WAITING_MAX);
    sockets.lock().unwrap_or_else(PoisonError::into_inner).insert(user, sender);
    out.send(Message::text(r#"{"type":"welcome"}"#)).await?;
    let mut some = Vec::with_capacity(FLUSH_RECORDS);
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
            heard = from.next() => if !matches!(heard, Some(Ok(_))) {
                return Ok(());
            },
        }
    }
}
