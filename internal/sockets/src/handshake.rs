//! The HTTP response to an upgrade request, and the websocket on the upgraded connection.
//!
//! Axum checks the request, but the websocket is made here: to close in order, a socket must read past what the
//! device still sends after the close frame, on the connection itself, and axum hides that connection.

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
/// The read buffer that each socket has from the beginning. Larger messages make it grow, and give the memory
/// back.
const READ_BUFFER_BYTES: usize = 1024;
/// For pongs and close frames, which tungstenite writes itself. The buffer grows when needed.
const WRITE_BUFFER_BYTES: usize = 2048;

/// A websocket on an upgraded connection.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The `101 Switching Protocols` response to a request that axum has checked.
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

/// The websocket, once the response was sent; `None` when the connection broke before.
pub(crate) async fn socket(upgrade: OnUpgrade) -> Option<Socket> {
    let connection = upgrade.await.inspect_err(|error| tracing::debug!(%error, "no upgrade")).ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    Some(WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await)
}
