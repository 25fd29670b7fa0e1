//! The CQL server for tests, and fresh keyspaces on it.

use anyhow::{Context as _, Result};
use environment::{Clock, Entropy};
use store_scylla::{Keyspace, ScyllaConfig};

/// Requests tests against real servers; then a missing server is a failure.
const WANTED: &str = "KLATSCH_TEST_SERVERS";
/// `host:port` of the CQL server.
const SERVER: &str = "KLATSCH_TEST_CQL";

/// The server's address; `None` when tests against servers were not requested.
pub(crate) fn server() -> Result<Option<String>> {
    if std::env::var(WANTED).is_ok_and(|wanted| wanted == "1") {
        return std::env::var(SERVER).map(Some).with_context(|| format!("{WANTED}=1, but {SERVER} names no server"));
    }
    eprintln!(
        "not run: no CQL server was asked for. To run it:\n  \
         cargo run --bin servers -- run cql -- cargo test -p store-scylla"
    );
    Ok(None)
}

/// The settings of a keyspace that no other test uses.
pub(crate) fn fresh(server: &str) -> Result<ScyllaConfig> {
    let keyspace: Keyspace = format!("t{}", Entropy::system().uuid_v7(&Clock::system()).simple()).parse()?;
    Ok(ScyllaConfig { replication_factor: 1, ..ScyllaConfig::new(vec![server.to_owned()], keyspace) })
}
