//! The sender of a request: an address and, where somebody has signed in, a user. Both are rate-limited.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use api::{ApiError, Caller};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use process::{Peer, client_address, network_of};
use protocol::ErrorCode;

use crate::app::App;

/// The client of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// The network of its address.
    pub(crate) network: IpAddr,
}

impl FromRequestParts<App> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        // Only a test that calls the routes itself has no connection.
        let peer = parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |Peer(address)| *address);
        Ok(Self { network: network_of(client_address(peer, &parts.headers, app.trusted_proxies)) })
    }
}

/// A signed-in caller within the rate limits.
pub(crate) struct LimitedCaller(pub(crate) Caller);

impl FromRequestParts<App> for LimitedCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        take(parts, app, Some(&caller)).await?;
        Ok(Self(caller))
    }
}

/// A caller without an access token, within the rate limits of one address.
pub(crate) struct LimitedAddress;

impl FromRequestParts<App> for LimitedAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        take(parts, app, None).await?;
        Ok(Self)
    }
}

async fn take(parts: &mut Parts, app: &App, caller: Option<&Caller>) -> Result<(), ApiError> {
    let Ok(Client { network }) = Client::from_request_parts(parts, app).await;
    let words = "too many requests: wait a moment, then ask again";
    let limited = |wait| ApiError::new(ErrorCode::RateLimited, words).after(wait);
    app.rate_limits.take_call(caller.map(|caller| caller.user), network).map_err(limited)
}
