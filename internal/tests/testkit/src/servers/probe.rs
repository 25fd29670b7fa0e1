//! One request to each kind of server, in its own protocol, that is answered only by a server that is ready.
//!
//! The requests are written by hand: testkit may not depend on the client libraries, and a port that accepts
//! connections proves nothing.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server that does not answer such a small request within this time is not ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Far larger than any real answer: another program on that port may send anything.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Asks a Kafka broker for its API versions and returns their number.
///
/// In KRaft mode a broker takes requests only once it has joined its cluster, so an answer means that it can work.
///
/// # Errors
/// When nothing, or something other than Kafka, answers at `address` in time.
pub async fn kafka(address: &str) -> Result<usize> {
    // Header: ApiVersions (18), version 0, correlation id, client id (a string). The request itself is empty.
    const CORRELATION: [u8; 4] = *b"klat";
    let mut request = vec![0, 18, 0, 0];
    request.extend(CORRELATION);
    request.extend([0, 5]);
    request.extend(b"probe");
    let mut framed = u32::try_from(request.len())?.to_be_bytes().to_vec();
    framed.extend(request);
    in_time(async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&framed).await?;
        let length = stream.read_u32().await?;
        let body = read_body(&mut stream, length).await?;
        // Correlation id, error code, count of APIs.
        let head = body.first_chunk::<10>().context("the answer is too short for Kafka's")?;
        ensure!(head[..4] == CORRELATION, "something other than Kafka answers");
        ensure!(head[4..6] == [0, 0], "Kafka answers with error {}", u16::from_be_bytes([head[4], head[5]]));
        Ok(usize::try_from(u32::from_be_bytes([head[6], head[7], head[8], head[9]]))?)
    })
    .await
}

/// Asks a CQL server for its options and returns their names, such as `CQL_VERSION`.
///
/// # Errors
/// When nothing, or something other than a CQL server, answers at `address` in time.
pub async fn cql(address: &str) -> Result<Vec<String>> {
    // Protocol version 4, no flags, stream 0, OPTIONS (5), empty body.
    const OPTIONS: [u8; 9] = [4, 0, 0, 0, 5, 0, 0, 0, 0];
    const SUPPORTED: u8 = 6;
    in_time(async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&OPTIONS).await?;
        let mut head = [0; 5];
        stream.read_exact(&mut head).await?;
        let length = stream.read_u32().await?;
        let body = read_body(&mut stream, length).await?;
        ensure!(head[0] == 0x84 && head[4] == SUPPORTED, "something other than a CQL server answers");
        option_names(&body)
    })
    .await
}

/// Parses a "string multimap": a count, then for each entry a string and a list of strings; all numbers are 16 bits.
fn option_names(body: &[u8]) -> Result<Vec<String>> {
    let mut rest = body;
    (0..take_u16(&mut rest)?)
        .map(|_| {
            let name = take_string(&mut rest)?;
            for _ in 0..take_u16(&mut rest)? {
                take_string(&mut rest)?;
            }
            Ok(name)
        })
        .collect()
}

fn take_u16(rest: &mut &[u8]) -> Result<u16> {
    let (number, after) = rest.split_first_chunk().context("the list of options is cut off")?;
    *rest = after;
    Ok(u16::from_be_bytes(*number))
}

fn take_string(rest: &mut &[u8]) -> Result<String> {
    let length = usize::from(take_u16(rest)?);
    let (text, after) = rest.split_at_checked(length).context("the list of options is cut off")?;
    *rest = after;
    Ok(String::from_utf8(text.to_vec())?)
}

/// Asks a schema registry for its subjects and returns their names.
///
/// # Errors
/// When nothing answers at `url` in time, or the answer is no list of names.
pub async fn registry(url: &str) -> Result<Vec<String>> {
    in_time(async { Ok(reqwest::get(format!("{url}/subjects")).await?.error_for_status()?.json().await?) }).await
}

async fn read_body(stream: &mut TcpStream, length: u32) -> Result<Vec<u8>> {
    let length = usize::try_from(length)?;
    ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes is none of this protocol's");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn in_time<T>(asking: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(ANSWER_WITHIN, asking).await {
        Ok(answer) => answer,
        Err(_) => bail!(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}
