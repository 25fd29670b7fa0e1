//! Options that several programs have in common: plain values, so that no engine is pulled in.
//!
//! A program flattens these into its one clap struct. The doc comments are the help texts.

use std::net::SocketAddr;

use clap::Args;
use secret::Secret;

use crate::serve::{Bounds, CONNECTIONS_PER_ADDRESS, PerAddress};

/// Headings of the help texts.
pub(crate) const LISTENING: &str = "Where it is reached";
const LOG: &str = "The event log";
const STORE: &str = "The store";

/// The distance from a program's public port to its operators' port.
const OPS_PORT_OFFSET: u16 = 1_000;

/// Where to listen.
#[derive(Debug, Clone, Args)]
pub struct ListenOptions {
    /// Address and port for HTTP; port 0 takes a free one. Every program has a default port of its own
    #[arg(long, help_heading = LISTENING, env = "KLATSCH_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Address and port for operators: /metrics, and /readyz with its reasons. Unless named, the loopback address and the
    /// port of --listen plus 1000
    #[arg(long, help_heading = LISTENING, env = "KLATSCH_OPS_LISTEN", value_name = "ADDRESS:PORT")]
    pub ops_listen: Option<SocketAddr>,
    /// Connections that one address may have; an IPv6 network of 64 bits counts as one. Unless named, 4096, and any
    /// number for loopback addresses, where a proxy may stand. Behind a proxy or NAT on another machine, many people
    /// share an address: name a number that is enough for all of them, or 0 for any number
    #[arg(long, help_heading = LISTENING, env = "KLATSCH_CONNECTIONS_PER_ADDRESS", value_name = "NUMBER")]
    pub connections_per_address: Option<usize>,
}

impl ListenOptions {
    /// The address that was asked for; otherwise this port on the loopback address, which nothing outside the machine
    /// reaches.
    #[must_use]
    pub fn address_or(&self, port: u16) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The operators' address beside `public`, when none was asked for. `None` where there is no such port.
    #[must_use]
    pub fn ops_address_beside(public: SocketAddr) -> Option<SocketAddr> {
        let port = public.port().checked_add(OPS_PORT_OFFSET)?;
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The bounds on connections that follow from these options.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds::of_process(match self.connections_per_address {
            None => PerAddress::MaxUnlessLoopback(CONNECTIONS_PER_ADDRESS),
            Some(0) => PerAddress::Unbounded,
            Some(max) => PerAddress::Max(max),
        })
    }
}

/// The event log.
#[derive(Debug, Clone, Args)]
pub struct LogOptions {
    /// Kafka brokers to begin with
    #[arg(long, help_heading = LOG, env = "KLATSCH_KAFKA", value_name = "HOST:PORT,...", default_value = "127.0.0.1:9092")]
    pub kafka: String,
    /// Confluent-compatible schema registry; without it, the schemas compiled in are taken to be registered
    #[arg(long, help_heading = LOG, env = "KLATSCH_REGISTRY", value_name = "URL")]
    pub registry: Option<String>,
    /// Accept topics that cannot keep the promises (replication below 3, ...): for development on one broker
    #[arg(long, help_heading = LOG, env = "KLATSCH_DEV")]
    pub dev: bool,
}

/// The store.
#[derive(Debug, Clone, Args)]
pub struct StoreOptions {
    /// ScyllaDB or Cassandra nodes to begin with
    #[arg(
        long, help_heading = STORE,
        env = "KLATSCH_CQL",
        value_name = "HOST:PORT,...",
        default_value = "127.0.0.1:9042",
        value_delimiter = ','
    )]
    pub cql: Vec<String>,
    /// Which part of them is meant, and as whom.
    #[command(flatten, next_help_heading = STORE)]
    pub keyspace: KeyspaceOptions,
}

/// Which part of the CQL servers is meant, and as whom: the same for services and for `klatschctl`.
#[derive(Debug, Clone, Args)]
pub struct KeyspaceOptions {
    /// The keyspace of all tables
    #[arg(long, global = true, env = "KLATSCH_KEYSPACE", value_name = "NAME", default_value = "klatsch")]
    pub keyspace: String,
    /// The datacenter whose nodes are used and whose quorum counts; to be named where the cluster has more than one
    #[arg(long, global = true, env = "KLATSCH_CQL_DATACENTER", value_name = "NAME")]
    pub cql_datacenter: Option<String>,
    /// The role to sign in with where the server asks for one; its password is read from KLATSCH_CQL_PASSWORD
    #[arg(long, global = true, env = "KLATSCH_CQL_USER", value_name = "NAME")]
    pub cql_user: Option<String>,
    /// The password of that role.
    #[arg(skip = cql_password())]
    pub cql_password: Option<Secret>,
}

/// The variable that the store's password is read from. There is no flag: others on the machine can see flags.
pub const CQL_PASSWORD: &str = "KLATSCH_CQL_PASSWORD";

/// The store's password, as the environment has it.
#[must_use]
fn cql_password() -> Option<Secret> {
    std::env::var(CQL_PASSWORD).ok().map(Secret::new)
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
