//! Free ports on loopback.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use uuid::Uuid;

/// The range of ports, below the one from which Linux takes the ports of outgoing connections (32768 and up).
///
/// A port from that upper range (which binding port 0 returns) may be taken while its server restarts: by any
/// client, even by a client of that very server, whose attempt to connect can get the same port as its own and then
/// succeeds, connected to itself.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
const ATTEMPTS_MAX: usize = 200;

/// A port that no process listens on, and that this process has not returned before.
pub(crate) fn free() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().ok().context("another test panicked while it picked a port")?;
    let width = u128::from(PORTS.end - PORTS.start);
    (0..ATTEMPTS_MAX)
        .filter_map(|_| u16::try_from(Uuid::now_v7().as_u128() % width).ok())
        .map(|offset| PORTS.start + offset)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && given.insert(port))
        .with_context(|| format!("no free port among {PORTS:?} after {ATTEMPTS_MAX} attempts"))
}
