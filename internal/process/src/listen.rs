//! Binding the listener; a failure says in words what to do about it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::ConfigFault;
use crate::options::ListenOptions;

/// Listens on `address`; port 0 takes a free one.
///
/// # Errors
/// A [`ConfigFault`] that says what to do.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ConfigFault> {
    bind_as(address, "--listen").await
}

/// Listens for operators beside `public`. Where nothing was asked for and the usual port is taken, there is no such
/// listener: a second program on the machine starts all the same.
///
/// # Errors
/// When the address that was asked for cannot be listened on, or nothing was asked for and the public port is so high
/// that the usual one does not exist.
pub async fn bind_operators(options: &ListenOptions, public: SocketAddr) -> Result<Option<TcpListener>, ConfigFault> {
    if let Some(address) = options.ops_listen {
        return bind_as(address, "--ops-listen").await.map(Some);
    }
    let bound = match ListenOptions::ops_address_beside(public) {
        Some(address) => bind_as(address, "--ops-listen").await,
        None => {
            let fault = ConfigFault::new(format!(
                "operators are listened for on the public port plus 1000, and there is none beside {}: name an address \
                 with --ops-listen, or a port below 64536 with --listen",
                public.port()
            ));
            // Port 0 was chosen by the operating system, so the operator has not named a wrong port.
            if options.listen.is_none_or(|asked| asked.port() != 0) {
                return Err(fault);
            }
            Err(fault)
        }
    };
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => {
            tracing::warn!(%error, "there is no listener for operators: no metrics are served");
            Ok(None)
        }
    }
}

async fn bind_as(address: SocketAddr, option: &str) -> Result<TcpListener, ConfigFault> {
    let fault = |error: io::Error| {
        let words = match error.kind() {
            ErrorKind::AddrInUse => {
                format!("{address} is in use by another process: stop it, or choose another address with {option}")
            }
            ErrorKind::PermissionDenied => format!(
                "{address} may not be listened on by this user: choose a port above 1023 with {option}, or allow it"
            ),
            ErrorKind::AddrNotAvailable => {
                format!("{address} is not an address of this machine: choose another with {option}")
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

    #[tokio::test]
    async fn operators_have_a_listener_unless_its_usual_port_is_taken() {
        let options = ListenOptions { listen: None, ops_listen: None, connections_per_address: None };
        let usual = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let public = SocketAddr::from(([0, 0, 0, 0], usual.local_addr().unwrap().port() - 1_000));
        assert!(bind_operators(&options, public).await.unwrap().is_none());
        let named = ListenOptions { ops_listen: Some(usual.local_addr().unwrap()), ..options.clone() };
        let fault = bind_operators(&named, public).await.unwrap_err();
        assert!(fault.to_string().contains("--ops-listen"), "{fault}");
        let high = SocketAddr::from(([0, 0, 0, 0], 65_100));
        let fault = bind_operators(&options, high).await.unwrap_err();
        assert!(fault.to_string().contains("65100: name an address with --ops-listen"), "{fault}");
        let any = ListenOptions { listen: Some(SocketAddr::from(([0, 0, 0, 0], 0))), ..options.clone() };
        assert!(bind_operators(&any, high).await.unwrap().is_none(), "the operating system has chosen that port");
        let free = ListenOptions { ops_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..options.clone() };
        assert!(bind_operators(&free, high).await.unwrap().is_some());
        drop(usual);
        let listener = bind_operators(&options, public).await.unwrap().unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback(), "whatever the public one is");
    }
}
