//! The answer to an upgrade, and the websocket that comes of it.
//!
//! Axum checks the request; the socket itself is made here, because a socket that is to end in order needs the
//! connection under it: what a device goes on sending after a close frame has to be read past, and axum hides it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// The largest frame that a device may send.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// The eager part of a socket's memory. What is larger is grown into and given back.
const READ_BUFFER_BYTES: usize = 1024;
/// Frames are gathered up to so many bytes before they are written, or until the flush. Grown into when needed.
const WRITE_BUFFER_BYTES: usize = 2048;

/// A websocket on an upgraded connection.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The answer that switches the protocol, to a request that axum found to be a good one.
pub(crate) fn answer(headers: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// The websocket, once the answer is out; `None` when the connection went before.
pub(crate) async fn socket(upgrade: OnUpgrade) -> Option<Socket> {
    let connection = upgrade.await.inspect_err(|error| tracing::debug!(%error, "no upgrade")).ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    Some(WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await)
}
