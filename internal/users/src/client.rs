//! Who asks, as far as it is known before anybody signed in: an address.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use runtime::{Peer, client_address, network_of};

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
        // Without a connection there is no other end: a test that calls the routes itself.
        let peer = parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |Peer(address)| *address);
        Ok(Self { network: network_of(client_address(peer, &parts.headers, app.trusted_proxies)) })
    }
}
