//! Options that several programs have in common: plain values, so that no engine is pulled in.
//!
//! A program flattens these into its one clap struct. The doc comments are the help texts.

use std::net::SocketAddr;

use clap::Args;

/// Where to listen.
#[derive(Debug, Clone, Args)]
pub struct ListenOptions {
    /// Address and port for HTTP; port 0 takes a free one. Every program has a default port of its own
    #[arg(long, env = "KLATSCH_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
}

impl ListenOptions {
    /// What was asked for; otherwise this port on the loopback address, which nothing outside the machine reaches.
    #[must_use]
    pub fn address_or(&self, port: u16) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// The event log.
#[derive(Debug, Clone, Args)]
pub struct LogOptions {
    /// Kafka brokers to begin with
    #[arg(long, env = "KLATSCH_KAFKA", value_name = "HOST:PORT,...", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// Confluent-compatible schema registry; without it, the schemas compiled in are taken to be registered
    #[arg(long, env = "KLATSCH_REGISTRY", value_name = "URL")]
    pub registry: Option<String>,
    /// Accept topics that cannot keep the promises (replication below 3, ...): for development on one broker
    #[arg(long, env = "KLATSCH_DEV")]
    pub dev: bool,
}

/// The store.
#[derive(Debug, Clone, Args)]
pub struct StoreOptions {
    /// ScyllaDB or Cassandra nodes to begin with
    #[arg(
        long,
        env = "KLATSCH_CQL",
        value_name = "HOST:PORT,...",
        default_value = "127.0.0.1:9042",
        value_delimiter = ','
    )]
    pub cql: Vec<String>,
    /// The keyspace of all tables
    #[arg(long, env = "KLATSCH_KEYSPACE", value_name = "NAME", default_value = "klatsch")]
    pub keyspace: String,
}

/// Where to find the keys that access tokens are verified with.
#[derive(Debug, Clone, Args)]
pub struct KeysOptions {
    /// The user service's published keys: a URL or a file path
    #[arg(
        long,
        env = "KLATSCH_JWKS",
        value_name = "URL|PATH",
        default_value = "http://127.0.0.1:8081/.well-known/jwks.json"
    )]
    pub jwks: String,
}
