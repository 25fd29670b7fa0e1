//! Binding the listener, with words for what stands in the way.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::ConfigFault;

/// Listens on `address`; port 0 takes a free one.
///
/// # Errors
/// A [`ConfigFault`] that says what to do.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ConfigFault> {
    let fault = |error: io::Error| {
        let words = match error.kind() {
            ErrorKind::AddrInUse => {
                format!("{address} is in use by another process: stop it, or choose another address with --listen")
            }
            ErrorKind::PermissionDenied => format!(
                "{address} may not be listened on by this user: choose a port above 1023 with --listen, or allow it"
            ),
            ErrorKind::AddrNotAvailable => {
                format!("{address} is not an address of this machine: choose another with --listen")
            }
            _ => format!("{address} cannot be listened on: {error}"),
        };
        ConfigFault::caused(words, error)
    };
    TcpListener::bind(address).await.map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_said_so() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let fault = bind(first.local_addr().unwrap()).await.unwrap_err();
        assert!(fault.to_string().contains("in use by another process"), "{fault}");
    }
}
