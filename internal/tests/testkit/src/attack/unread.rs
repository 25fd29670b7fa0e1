//! Pages of history that one user requests over many connections and never reads.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use protocol::ConversationBody;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{People, Target, Wishes};
use crate::device::{Account, Failed, Http};

/// Pages that are requested and not read.
const PAGES: usize = 150;
/// Messages of a page, and bytes of each: the largest page that may be asked for.
const MESSAGES: usize = 200;
const BYTES: usize = 16 << 10;
/// How long people talk before the attack, and during it.
const TALK: Duration = Duration::from_secs(10);
/// How much memory the unread answers may add, in MiB.
const GROWTH_MAX: u64 = 200;
/// The receive buffer of each connection, in bytes: the smallest that the system allows.
const KEPT_FOR_CLIENT: u32 = 4096;

pub(super) async fn run(wishes: Wishes) -> Result<bool> {
    let mut target = Target::new(&wishes, "", &[]).await?;
    let endpoints = target.endpoints();
    let people = People::begin(&endpoints, 6, 20).await?;
    let account =
        Account::register(&endpoints, &format!("reader-{}", &Uuid::now_v7().simple().to_string()[20..])).await?;
    let http = Http::new(endpoints, account)?;
    let conversation = fill(&http).await?;
    let before = people.talk(TALK).await?;
    let resident = target.resident_mib();
    println!("before:  {before}; {resident:?} MiB");

    let path = format!("/v1/conversations/{conversation}/messages?limit={MESSAGES}");
    let token = http.token().await?;
    let mut unread = Vec::new();
    for _ in 0..wishes.count.unwrap_or(PAGES) {
        unread.push(ask(target.address(), &path, token.expose()).await?);
    }
    let during = people.talk(TALK).await?;
    let grown = target.peak_mib().zip(resident).map(|(now, before)| now.saturating_sub(before));
    println!("during:  {during}; {:?} MiB, {grown:?} more at the peak", target.resident_mib());
    target.alive()?;
    let kept = still_open(&mut unread).await;
    println!("of {} connections, {kept} are kept after {TALK:?}", unread.len());
    drop(unread);
    let lost = people.lost().await?;
    println!("lost: {lost}");
    Ok(lost == 0 && during.as_good_as(&before) && grown.is_none_or(|grown| grown <= GROWTH_MAX))
}

/// Creates a conversation with as many messages, of as many bytes, as the largest page may have.
async fn fill(http: &Http) -> Result<String> {
    let body = json!({ "id": Uuid::now_v7(), "kind": "group", "title": "large", "members": [] });
    let created: Value = http.chat(Method::POST, "/v1/conversations", Some(&body)).await?;
    let conversation = created["conversation"].as_str().context("a creation names its conversation")?.to_owned();
    let path = format!("/v1/conversations/{conversation}/messages");
    for _ in 0..MESSAGES {
        let message = json!({ "id": Uuid::now_v7(), "body": "x".repeat(BYTES) });
        // Retries when the user's rate limit is hit.
        for attempt in 0.. {
            match http.chat::<Value>(Method::POST, &path, Some(&message)).await {
                Ok(_) => break,
                Err(Failed::Refused(code, _)) if code == protocol::ErrorCode::RateLimited && attempt < 20 => {
                    sleep(Duration::from_secs(1)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    let shown: ConversationBody = http.get(&format!("/v1/conversations/{conversation}")).await?;
    ensure!(shown.last_message.is_some(), "the messages are not there");
    Ok(conversation)
}

async fn ask(address: SocketAddr, path: &str, token: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(KEPT_FOR_CLIENT)?;
    let mut stream = socket.connect(address).await?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

/// How many connections the server still holds open. Reads first what lies in the system's buffers, as the end of a
/// closed connection comes behind it.
async fn still_open(unread: &mut [TcpStream]) -> usize {
    let (mut open, mut buffer) = (0, vec![0; 64 << 10]);
    for stream in unread {
        let mut taken = 0;
        loop {
            match timeout(Duration::from_millis(200), stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(length)) if taken < BYTES * MESSAGES => taken += length,
                _ => {
                    open += 1;
                    break;
                }
            }
        }
    }
    open
}
