//! How a device reaches services: over TCP, or over what a simulation puts in its place.

use std::fmt;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use secret::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::http::Failed;

/// The longest that an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// An HTTP request of a device.
#[derive(Debug, Clone)]
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// Base URL of the service, as in [`super::Endpoints`].
    pub base: String,
    /// Path and query.
    pub path: String,
    /// The access token.
    pub token: Option<Secret>,
    /// The body, as JSON.
    pub body: Option<Vec<u8>>,
}

/// A byte stream to a service.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> Stream for S {}

/// The network between devices and services.
#[async_trait]
pub trait Network: fmt::Debug + Send + Sync + 'static {
    /// Opens a connection to the service, for a socket.
    ///
    /// # Errors
    /// When it cannot be opened.
    async fn connect(&self, base: &str) -> io::Result<Box<dyn Stream>>;

    /// The answer to a request: status and body.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    async fn ask(&self, request: Request) -> Result<(u16, Vec<u8>), String>;
}

/// Over TCP.
#[derive(Debug)]
pub struct Tcp {
    client: reqwest::Client,
}

impl Tcp {
    /// A client with a connection pool of its own.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new() -> Result<Self, Failed> {
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build();
        Ok(Self { client: client.map_err(|error| Failed::Unanswered(error.to_string()))? })
    }
}

#[async_trait]
impl Network for Tcp {
    async fn connect(&self, base: &str) -> io::Result<Box<dyn Stream>> {
        let address = base.strip_prefix("http://").unwrap_or(base);
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn ask(&self, request: Request) -> Result<(u16, Vec<u8>), String> {
        let url = format!("{}{}", request.base, request.path);
        let mut built = self.client.request(request.method, &url);
        if let Some(token) = request.token {
            built = built.bearer_auth(token.expose());
        }
        if let Some(body) = request.body {
            built = built.header(CONTENT_TYPE, "application/json").body(body);
        }
        let unanswered = |error: reqwest::Error| format!("{url}: {error}");
        let answer = built.send().await.map_err(unanswered)?;
        let (status, bytes) = (answer.status().as_u16(), answer.bytes().await.map_err(unanswered)?);
        Ok((status, bytes.to_vec()))
    }
}
