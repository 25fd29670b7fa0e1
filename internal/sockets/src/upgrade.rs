//! `GET /v1/socket`: checks who may open a socket, and starts its task.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use api::{ApiError, Authenticated, Caller, bearer};
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use hyper::upgrade::OnUpgrade;
use process::{Peer, TraceParent, client_address, network_of};
use protocol::ErrorCode;
use secret::Secret;
use tracing::{Instrument, info_span};

use crate::config::Config;
use crate::handshake;
use crate::metrics::TurnedAway;
use crate::node::Node;
use crate::socket::{self, Opening};

/// The path where sockets are opened.
const PATH: &str = "/v1/socket";
/// The query parameter by which balancers choose a node.
const ROUTING_KEY: &str = "p";
/// Words that occur in the names of query parameters which carry credentials.
const TOKEN_WORDS: [&str; 11] =
    ["token", "jwt", "auth", "bearer", "credential", "secret", "passw", "session", "ticket", "apikey", "accesskey"];
/// Endings of such names that are too short to be searched for inside a name.
const TOKEN_ENDS: [&str; 6] = ["sid", "key", "pwd", "otp", "sig", "signature"];
/// The usual beginning of a JWT: `{"` in base64.
const TOKEN_START: &str = "eyJ";
/// Rarer beginnings: `{` followed by a space, a tab or a line break, in base64.
const TOKEN_STARTS_RARE: [&str; 2] = ["ey", "ew"];
/// The scheme that precedes a token in an `Authorization` header.
const TOKEN_SCHEME: &str = "bearer";

/// The routes of a node.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new().route(PATH, get(open)).with_state(node)
}

async fn open(
    State(node): State<Arc<Node>>,
    Extension(trace): Extension<TraceParent>,
    authenticated: Option<Extension<Authenticated>>,
    parts: Parts,
    connection: Option<Extension<OnUpgrade>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let Parts { uri, headers, extensions, .. } = parts;
    if node.draining.is_cancelled() {
        node.metrics.turned_away(TurnedAway::Draining);
        return Err(ApiError::new(ErrorCode::Unavailable, "the node is shutting down: connect to another one"));
    }
    drop(upgrade.map_err(|error| ApiError::new(ErrorCode::BadRequest, error.body_text()))?); // only its checks are used
    let Some(Extension(connection)) = connection else {
        return Err(ApiError::new(ErrorCode::BadRequest, "this connection cannot be upgraded"));
    };
    if let Some(after) = node.admission.turned_away(&node.entropy) {
        node.metrics.turned_away(TurnedAway::Crowded);
        // Not `busy`: on 503 a balancer would ask the next node, which has as many devices to welcome.
        let words = "too many devices come at once: wait as long as 'Retry-After' says, then come again";
        return Err(ApiError::new(ErrorCode::RateLimited, words).after(after));
    }
    refuse_token_in_url(&uri)?;
    refuse_foreign_origin(&headers, &node.config)?;
    let caller = match headers.contains_key(header::AUTHORIZATION) {
        true => Some(caller(&node, &headers).await?),
        false => None,
    };
    let token = bearer(&headers).map(Secret::new);
    let authenticated = authenticated.map(|Extension(authenticated)| authenticated).unwrap_or_default();
    let peer = extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |Peer(address)| *address);
    let address = network_of(client_address(peer, &headers, node.config.trusted_proxies));
    let permit = node.socket_count.permit(address);
    let opening = Opening { caller, token, trace, permit, routed: routed_to(&uri), authenticated };
    let span = info_span!("socket", trace_id = trace.trace_id());
    tokio::spawn(socket::run(node, connection, opening).instrument(span));
    Ok(handshake::answer(&headers))
}

async fn caller(node: &Node, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let wrong = || ApiError::new(ErrorCode::Unauthorized, "the header must read 'Authorization: Bearer <token>'");
    Caller::from_token(&node.verifier, bearer(headers).ok_or_else(wrong)?).await
}

/// The partition that the URL names for balancers. Nothing is decided by it but whether a device is asked to come back
/// with the right one.
fn routed_to(uri: &Uri) -> Option<u32> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == ROUTING_KEY)?.1.parse().ok()
}

/// URLs end up in logs. Anything that looks like a token in a URL is refused, so that no client comes to rely on
/// it.
fn refuse_token_in_url(uri: &Uri) -> Result<(), ApiError> {
    for pair in uri.query().into_iter().flat_map(|query| query.split(['&', ';'])) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut letters = unescaped(name).to_ascii_lowercase();
        letters.retain(|letter| letter.is_ascii_alphanumeric());
        let named = TOKEN_WORDS.iter().any(|word| letters.contains(word))
            || TOKEN_ENDS.iter().any(|end| letters.ends_with(end));
        if named || is_token(&unescaped(value)) {
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

/// Whether a value contains a token, whatever the parameter's name is.
fn is_token(value: &str) -> bool {
    value.contains(TOKEN_START)
        || value.to_ascii_lowercase().contains(TOKEN_SCHEME)
        || value.split([' ', '+', ',', '"']).any(has_token_shape)
}

/// Whether the text has the form of a JWT: three parts of base64, or five if encrypted, of which the first is a
/// JSON object.
fn has_token_shape(text: &str) -> bool {
    let of_base64 = |part: &str| part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_=".contains(letter));
    let parts = text.split('.').count();
    (parts == 3 || parts == 5)
        && TOKEN_STARTS_RARE.iter().any(|start| text.starts_with(start))
        && text.split('.').all(of_base64)
}

/// The text with its percent escapes decoded.
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

/// Refuses browser origins that are not allowed. A browser always sends the page's origin and no page can change
/// it; other clients send none.
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
                      t=eyJhbGciOiJFZERTQSJ9.e30.x q=%65yJhbGciOiJFZERTQSJ9.e30.x \
                      t=Bearer%20abc t=bearer+abc t=Bearer t=%42earer%20abc sid=3 SID=3 connect.sid=3 PHPSESSID=3 \
                      jsessionid=3 key=value api-key=x private.key=x auth=1 pwd=x X-Amz-Signature=x sig=x otp=123456 \
                      t=ewogImFsZyI6ICJub25lIn0.e30. t=eyAiYWxnIjogIm5vbmUiIH0.e30.x t=a%20ewogIn0.e30.x \
                      t=ewogIn0.a.b.c.d";
        for query in custom.split_whitespace() {
            assert!(!taken(&format!("/v1/socket?{query}")), "{query}");
        }
        let harmless = "% %zz=%f partition=3&v=1 v=1.2.3 host=news.example.org cursor=0.7.42.9f3c51d2aa10be44 side=left \
                        user=01990f3e-6a1c-7c3e-9d0f-0a4b5c6d7e8f keyboard=de lang=en-GB";
        for query in [""].into_iter().chain(harmless.split_whitespace()) {
            assert!(taken(&format!("/v1/socket?{query}")), "{query}");
        }
    }
}
