//! `GET /v1/socket`: who may open a socket.

use std::sync::Arc;

use api::{ApiError, Caller, ErrorCode};
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use runtime::TraceParent;
use tracing::{Instrument, info_span};

use crate::config::Config;
use crate::node::Node;
use crate::socket::{self, Opening};
use crate::wire;

/// Where sockets are opened.
const PATH: &str = "/v1/socket";
/// An origin that allows every one.
const ANY_ORIGIN: &str = "*";

/// The routes of a node.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new().route(PATH, get(open)).with_state(node)
}

async fn open(
    State(node): State<Arc<Node>>,
    Extension(trace): Extension<TraceParent>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    if node.draining.is_cancelled() {
        return Err(ApiError::new(ErrorCode::Unavailable, "the node is shutting down: connect to another one"));
    }
    let upgrade = upgrade.map_err(|error| ApiError::new(ErrorCode::BadRequest, error.body_text()))?;
    refuse_token_in_url(&uri)?;
    refuse_foreign_origin(&headers, &node.config)?;
    let caller = match headers.get(header::AUTHORIZATION) {
        Some(value) => Some(caller(&node, value.to_str().ok()).await?),
        None => None,
    };
    let opening = Opening { caller, trace, place: node.census.place() };
    let span = info_span!("socket", trace_id = trace.trace_id());
    Ok(wire::bounded(upgrade).on_upgrade(move |socket| socket::run(node, socket, opening).instrument(span)))
}

async fn caller(node: &Node, header: Option<&str>) -> Result<Caller, ApiError> {
    let token = header.and_then(|value| value.strip_prefix("Bearer "));
    let wrong = || ApiError::new(ErrorCode::Unauthorized, "the header must read 'Authorization: Bearer <token>'");
    Caller::from_token(&node.verifier, token.ok_or_else(wrong)?).await
}

/// URLs end up in logs: a token in one is refused, so that nobody comes to rely on it.
fn refuse_token_in_url(uri: &Uri) -> Result<(), ApiError> {
    let names = uri.query().into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split('=').next());
    if { names }.any(|name| name.to_ascii_lowercase().contains("token")) {
        let words = "a token never goes into the URL: send it in the 'Authorization' header or in the hello frame";
        return Err(ApiError::new(ErrorCode::BadRequest, words));
    }
    Ok(())
}

/// A browser sends the page's origin and lets no page change it; other clients send none.
fn refuse_foreign_origin(headers: &HeaderMap, config: &Config) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let allowed = |known: &String| known == ANY_ORIGIN || known.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
    if config.origins.iter().any(allowed) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::OriginForbidden, "pages of this origin may not open sockets here"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_known_origins_and_programs_may_open_sockets() {
        let config = Config { origins: vec!["https://chat.example".into()], ..Config::default() };
        let from = |origin: &str| {
            let origin = HeaderValue::from_str(origin).unwrap();
            refuse_foreign_origin(&HeaderMap::from_iter([(header::ORIGIN, origin)]), &config).is_ok()
        };
        assert!(from("https://chat.example") && from("HTTPS://chat.example"));
        assert!(!from("https://chat.example.evil") && !from("null") && !from(""));
        assert!(refuse_foreign_origin(&HeaderMap::new(), &config).is_ok());
    }

    #[test]
    fn a_token_in_the_url_is_refused() {
        let taken = |uri: &str| refuse_token_in_url(&uri.parse().unwrap()).is_ok();
        assert!(taken("/v1/socket") && taken("/v1/socket?partition=3"));
        assert!(!taken("/v1/socket?token=x") && !taken("/v1/socket?a=b&access_Token=x"));
    }
}
