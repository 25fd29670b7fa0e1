//! The CQL server that tests use, and fresh keyspaces in it.

use anyhow::{Context as _, Result};
use environment::{Clock, Entropy};
use store_scylla::{Keyspace, ScyllaConfig};

/// Asks for tests against real servers; then a missing one is a failure.
const WANTED: &str = "KLATSCH_TEST_SERVERS";
/// `host:port`.
const SERVER: &str = "KLATSCH_TEST_CQL";

/// Where the server is; `None` when nobody asked for tests against one.
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

/// A keyspace that nobody has used.
pub(crate) fn fresh(server: &str) -> Result<ScyllaConfig> {
    let keyspace: Keyspace = format!("t{}", Entropy::system().uuid_v7(&Clock::system()).simple()).parse()?;
    Ok(ScyllaConfig { replication_factor: 1, ..ScyllaConfig::new(vec![server.to_owned()], keyspace) })
}
