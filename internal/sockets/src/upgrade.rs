//! `GET /v1/socket`: who may open a socket.

use std::sync::Arc;

use api::{ApiError, Caller, Vouched, bearer};
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use hyper::upgrade::OnUpgrade;
use protocol::ErrorCode;
use runtime::TraceParent;
use secret::Secret;
use tracing::{Instrument, info_span};

use crate::config::Config;
use crate::handshake;
use crate::node::Node;
use crate::socket::{self, Opening};

/// Where sockets are opened.
const PATH: &str = "/v1/socket";
/// What the names of query parameters that carry credentials have in them, by any custom.
const TOKEN_WORDS: [&str; 11] =
    ["token", "jwt", "auth", "bearer", "credential", "secret", "passw", "session", "ticket", "apikey", "accesskey"];
/// How every token of the usual kind begins: a JSON object in base64.
const TOKEN_START: &str = "eyJ";

/// The routes of a node.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new().route(PATH, get(open)).with_state(node)
}

async fn open(
    State(node): State<Arc<Node>>,
    Extension(trace): Extension<TraceParent>,
    vouched: Option<Extension<Vouched>>,
    uri: Uri,
    headers: HeaderMap,
    connection: Option<Extension<OnUpgrade>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    if node.draining.is_cancelled() {
        return Err(ApiError::new(ErrorCode::Unavailable, "the node is shutting down: connect to another one"));
    }
    drop(upgrade.map_err(|error| ApiError::new(ErrorCode::BadRequest, error.body_text()))?); // it has looked at the request
    let Some(Extension(connection)) = connection else {
        return Err(ApiError::new(ErrorCode::BadRequest, "this connection cannot be upgraded"));
    };
    refuse_token_in_url(&uri)?;
    refuse_foreign_origin(&headers, &node.config)?;
    let caller = match headers.contains_key(header::AUTHORIZATION) {
        true => Some(caller(&node, &headers).await?),
        false => None,
    };
    let token = bearer(&headers).map(Secret::new);
    let vouched = vouched.map(|Extension(vouched)| vouched).unwrap_or_default();
    let opening = Opening { caller, token, trace, place: node.census.place(), vouched };
    let span = info_span!("socket", trace_id = trace.trace_id());
    let serving = async move {
        if let Some(socket) = handshake::socket(connection).await {
            socket::run(node, socket, opening).await;
        }
    };
    tokio::spawn(serving.instrument(span));
    Ok(handshake::answer(&headers))
}

async fn caller(node: &Node, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let wrong = || ApiError::new(ErrorCode::Unauthorized, "the header must read 'Authorization: Bearer <token>'");
    Caller::from_token(&node.verifier, bearer(headers).ok_or_else(wrong)?).await
}

/// URLs end up in logs: whatever looks like a token in one is refused, so that nobody comes to rely on it.
fn refuse_token_in_url(uri: &Uri) -> Result<(), ApiError> {
    for pair in uri.query().into_iter().flat_map(|query| query.split(['&', ';'])) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut letters = unescaped(name).to_ascii_lowercase();
        letters.retain(|letter| letter.is_ascii_alphanumeric());
        let value = unescaped(value);
        if TOKEN_WORDS.iter().any(|word| letters.contains(word)) || value.contains(TOKEN_START) {
            let name: String = unescaped(name).chars().filter(|letter| !letter.is_control()).take(32).collect();
            let words = format!(
                "a token never goes into the URL, where logs keep it, as '{name}' seems to be: send it in the \
                 'Authorization' header or in the hello frame"
            );
            return Err(ApiError::new(ErrorCode::BadRequest, words));
        }
    }
    Ok(())
}

/// The text without its percent escapes.
fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        let digit = |index: usize| after.get(index).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A browser sends the page's origin and lets no page change it; other clients send none.
fn refuse_foreign_origin(headers: &HeaderMap, config: &Config) -> Result<(), ApiError> {
    if config.origins.allow(headers) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::OriginForbidden, "pages of this origin may not open sockets here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_url_is_refused() {
        let taken = |uri: &str| refuse_token_in_url(&uri.parse().unwrap()).is_ok();
        assert!(taken("/v1/socket") && taken("/v1/socket?partition=3"));
        let custom = "token=x a=b&access_Token=x jwt=x JWT authorization=Bearer%20x Auth=x id_token=x access-token=x \
                      api_key=x session=x password=x bearer=x ticket=x Credential=x a=1;jwt=x %74oken=x j%57T=x \
                      t=eyJhbGciOiJFZERTQSJ9.e30.x q=%65yJhbGciOiJFZERTQSJ9.e30.x";
        for query in custom.split_whitespace() {
            assert!(!taken(&format!("/v1/socket?{query}")), "{query}");
        }
        for query in ["", "%", "%zz=%f", "partition=3&v=1", "key=value"] {
            assert!(taken(&format!("/v1/socket?{query}")), "{query}");
        }
    }
}
