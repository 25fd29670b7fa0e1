//! A line to the server that can be slow: devices connect through it, and know nothing of it.
//!
//! What comes from the server is taken at the line's speed, with a small buffer in the kernel, so that the server meets
//! what it would meet of a device that does not read. The other direction is never slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::exit::SetupError;

/// The receive buffer that the line asks its kernel for, in bytes.
const RECEIVE_BYTES: u32 = 4_096;
/// Bytes that are taken at once at full speed.
const CHUNK_BYTES: usize = 16 << 10;
/// How often a slow line takes something.
const SLOW_EVERY: Duration = Duration::from_millis(100);

/// How fast the line takes what the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speed {
    /// As fast as it comes.
    Full,
    /// So many bytes a second.
    BytesPerSecond(usize),
    /// Not at all.
    Nothing,
}

/// A line. When it is dropped, its connections end.
pub(crate) struct Line {
    /// The base URL under which devices reach the server through it.
    pub(crate) url: String,
    speed: watch::Sender<Speed>,
    task: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    /// Opens a line to the servers at these base URLs, which its connections use in turn.
    ///
    /// # Errors
    /// When there is no port for it.
    pub(crate) async fn open(nodes: &[String]) -> Result<Self, SetupError> {
        let failed = || SetupError::io("opening a line for slow devices");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed())?;
        let url = format!("http://{}", listener.local_addr().map_err(failed())?);
        let (speed, seen) = watch::channel(Speed::Full);
        let task = tokio::spawn(accept(listener, nodes.to_vec().into(), seen));
        Ok(Self { url, speed, task })
    }

    pub(crate) fn set(&self, speed: Speed) {
        self.speed.send_replace(speed);
    }
}

async fn accept(listener: TcpListener, nodes: Arc<[String]>, speed: watch::Receiver<Speed>) {
    // Owned by this task, so that they end with it.
    let mut connections = tokio::task::JoinSet::new();
    for number in 0_usize.. {
        match listener.accept().await {
            Ok((device, _)) => {
                let node = nodes[number % nodes.len()].clone();
                let speed = speed.clone();
                connections.spawn(async move {
                    // A connection that cannot be made ends at once, which the device takes for a lost one.
                    if let Ok(server) = connect(&node).await {
                        carry(device, server, speed).await;
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a line takes no connection");
                sleep(SLOW_EVERY).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(node: &str) -> std::io::Result<TcpStream> {
    let host = node.trim_start_matches("http://").trim_end_matches('/');
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = lookup_host(&host).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Carries bytes in both directions until one side has ended.
async fn carry(device: TcpStream, server: TcpStream, speed: watch::Receiver<Speed>) {
    let (mut from_device, to_device) = device.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = tokio::io::copy(&mut from_device, &mut to_server) => {}
        _ = at_speed(from_server, to_device, speed) => {}
    }
}

async fn at_speed(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut speed: watch::Receiver<Speed>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let now = *speed.borrow_and_update();
        let most = match now {
            Speed::Full => CHUNK_BYTES,
            Speed::BytesPerSecond(bytes) => (bytes / 10).clamp(1, CHUNK_BYTES),
            Speed::Nothing => {
                if speed.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        let read = tokio::select! {
            biased;
            changed = speed.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
            read = from.read(&mut chunk[..most]) => read?,
        };
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..read]).await?;
        if now != Speed::Full {
            sleep(SLOW_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_taken_waits_and_comes_when_the_line_is_fast_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Line::open(&[format!("http://{}", listener.local_addr().unwrap())]).await.unwrap();
        let mut device = TcpStream::connect(line.url.trim_start_matches("http://")).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        device.write_all(b"up").await.unwrap();
        let mut up = [0; 2];
        server.read_exact(&mut up).await.unwrap();
        assert_eq!(&up, b"up");
        line.set(Speed::Nothing);
        device.write_all(b"up").await.unwrap();
        server.read_exact(&mut up).await.unwrap();
        server.write_all(b"down").await.unwrap();
        let mut down = [0; 4];
        let early = tokio::time::timeout(Duration::from_millis(50), device.read_exact(&mut down)).await;
        assert!(early.is_err(), "it came although nothing is taken");
        line.set(Speed::BytesPerSecond(40));
        device.read_exact(&mut down).await.unwrap();
        assert_eq!(&down, b"down");
        drop(server);
        assert_eq!(device.read(&mut down).await.unwrap(), 0, "the end is passed on");
    }
}
