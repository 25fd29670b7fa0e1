//! One request and its answer over a connection of their own, in minimal HTTP/1.1.

use std::io;

use testkit::device::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::cable::End;

/// Sends the request and reads the answer: status and body.
pub(super) async fn ask(mut end: End, request: &Request) -> io::Result<(u16, Vec<u8>)> {
    let body = request.body.as_deref().unwrap_or_default();
    let mut text = format!("{} {} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n", request.method, request.path);
    if let Some(token) = &request.token {
        text += &format!("authorization: Bearer {}\r\n", token.expose());
    }
    if request.body.is_some() {
        text += "content-type: application/json\r\n";
    }
    text += &format!("content-length: {}\r\n\r\n", body.len());
    end.write_all(text.as_bytes()).await?;
    end.write_all(body).await?;
    let mut answer = Vec::new();
    end.read_to_end(&mut answer).await?;
    parse(&answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Parses an answer; `None` when it is incomplete.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&answer[..end]).ok()?, &answer[end + 4..]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.filter_map(|line| line.split_once(": ")).find(|(name, _)| *name == "content-length");
    let whole = length.is_none_or(|(_, length)| length.parse() == Ok(body.len()));
    whole.then(|| (status, body.to_vec()))
}
