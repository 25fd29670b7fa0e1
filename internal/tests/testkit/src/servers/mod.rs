//! Real servers for tests: Kafka, a CQL server (Cassandra) and a schema registry, as plain Java programs.
//!
//! [`Kafka::start`] and its neighbours fetch the program through Maven on first use, start it on free ports with a
//! fresh data folder, and end it when the handle is dropped or this process ends, even by `kill -9`. Most tests
//! share a server ([`shared_kafka`] ...): the one that the environment names, or else one per test process. A test
//! that stops or kills a server starts its own.
//!
//! Tests against real servers run when they are asked for ([`wanted`]); then a missing server is a failure. The
//! configurations are in `deploy/local`, which also explains the peculiarities of each server.

mod cassandra;
mod fetch;
mod java;
mod kafka;
pub(crate) mod ports;
pub mod probe;
mod process;
mod registry;
mod shared;

pub use cassandra::Cassandra;
pub use fetch::fetch_all;
pub use kafka::Kafka;
pub use process::Server;
pub use registry::Registry;
pub use shared::{shared_cql, shared_kafka, shared_registry};

/// When it is set to `1`, tests against real servers run, and fail when a server is missing.
pub const WANTED: &str = "KLATSCH_TEST_SERVERS";
/// `host:port` of a Kafka to use instead of starting one.
pub const GIVEN_KAFKA: &str = "KLATSCH_TEST_KAFKA";
/// `host:port` of a CQL server to use instead of starting one.
pub const GIVEN_CQL: &str = "KLATSCH_TEST_CQL";
/// URL of a Confluent-compatible schema registry to use instead of starting one.
pub const GIVEN_REGISTRY: &str = "KLATSCH_TEST_REGISTRY";

/// Whether tests against real servers were asked for. If not, prints how to ask for them; the test then returns.
#[must_use]
pub fn wanted() -> bool {
    let wanted = std::env::var(WANTED).is_ok_and(|value| value == "1");
    if !wanted {
        eprintln!(
            "not run: real servers were not asked for; {WANTED}=1 asks for them (needs mvn, Java 17 and Java 21 or newer)"
        );
    }
    wanted
}
