//! Where a request comes from: the remote address of the connection or, behind proxies that the operator names, the
//! address that they report.

use crate::options::LISTENING;
use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName};
use clap::Args;

/// The header to which each proxy adds the address that it was asked from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The remote address of the connection that a request came over. In the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The options about proxies in front of the program.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct ProxyOptions {
    /// Proxies in front of this program that each add the address they were asked from to X-Forwarded-For. With 0, the
    /// header is not looked at: whoever asks could write anything there, and so have any share of sign-ins and
    /// registrations. Behind a proxy, without this, all people share one address
    #[arg(long, help_heading = LISTENING, env = "KLATSCH_TRUSTED_PROXIES", value_name = "NUMBER", default_value_t = 0)]
    pub trusted_proxies: usize,
}

/// The client's address: the remote address or, behind `proxies` proxies, the address that the outermost of those was
/// asked from. A header with fewer addresses did not come through all of them: the remote address is the client's then.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> IpAddr {
    if proxies == 0 {
        return peer;
    }
    let lines = headers.get_all(FORWARDED_FOR).into_iter().filter_map(|line| line.to_str().ok());
    let addresses: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let client = addresses.len().checked_sub(proxies).map(|at| addresses[at]);
    client.and_then(parse).unwrap_or(peer)
}

/// The network that shares one allowance: of IPv6, the 64 bits that one host is usually given; of IPv4, the address
/// itself.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// Parses an address with or without a port, as proxies write them.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()));
    address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn what_a_client_writes_into_the_header_counts_for_nothing() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let mut headers = HeaderMap::new();
        let from = |headers: &HeaderMap, proxies| client_address(peer, headers, proxies).to_string();
        assert_eq!(from(&headers, 1), "10.0.0.1", "not through a proxy at all");
        headers.append(FORWARDED_FOR, HeaderValue::from_static("6.6.6.6, 198.51.100.7:4711"));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("[2001:db8::1]"));
        assert_eq!(from(&headers, 0), "10.0.0.1");
        assert_eq!(from(&headers, 1), "2001:db8::1");
        assert_eq!(from(&headers, 2), "198.51.100.7");
        assert_eq!(from(&headers, 4), "10.0.0.1");
        headers.append(FORWARDED_FOR, HeaderValue::from_static("unknown"));
        assert_eq!(from(&headers, 1), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_host_is_its_network() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:198.51.100.7"), "198.51.100.7");
        assert_eq!((network("198.51.100.7").as_str(), network("::1").as_str()), ("198.51.100.7", "::1"));
    }
}
