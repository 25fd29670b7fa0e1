//! Options that several programs have in common: plain values, so that no engine is pulled in.
//!
//! A program flattens these into its one clap struct. The doc comments are the help texts.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use clap::value_parser;
use secret::Secret;

use crate::serve::{Bounds, PerAddress};

/// Headings of the help texts.
pub(crate) const LISTENING: &str = "Where it is reached";
const LOG: &str = "The event log";
const STORE: &str = "The store";
const SOCKETS: &str = "Sockets";
const RATES: &str = "Rates";

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
        Bounds::of_process(PerAddress::of_option(self.connections_per_address))
    }
}

/// The sockets of devices. A program that serves sockets tells what happens at each bound.
#[derive(Debug, Clone, Args)]
pub struct SocketOptions {
    /// Open sockets of this process. A further one is closed with 4005
    #[arg(
        long, help_heading = SOCKETS, env = "KLATSCH_SOCKETS_MAX", value_name = "NUMBER",
        default_value_t = Self::SOCKETS_MAX, value_parser = value_parser!(u32).range(1..)
    )]
    pub sockets_max: u32,
    /// Open sockets of one user in this process. At the bound the one that was silent for longest is closed with 4005
    #[arg(
        long, help_heading = SOCKETS, env = "KLATSCH_SOCKETS_PER_USER", value_name = "NUMBER",
        default_value_t = Self::SOCKETS_PER_USER, value_parser = value_parser!(u32).range(1..)
    )]
    pub sockets_per_user: u32,
    /// Open sockets from one address in this process; an IPv6 network of 64 bits counts as one. A further one is closed
    /// with 4005. Unlike --connections-per-address, it counts the addresses that trusted proxies report. Unless named,
    /// 4096, and any number for loopback addresses; 0 for any number
    #[arg(long, help_heading = SOCKETS, env = "KLATSCH_SOCKETS_PER_ADDRESS", value_name = "NUMBER")]
    pub sockets_per_address: Option<usize>,
    /// When the process is told to stop, its devices are asked to move one after another, evenly spread over so many
    /// seconds; it stops when all have gone. Whoever ends processes by force has to wait for 10 s longer than this
    #[arg(
        long, help_heading = SOCKETS, env = "KLATSCH_DRAIN_WINDOW", value_name = "SECONDS",
        default_value_t = Self::DRAIN_WINDOW_S, value_parser = value_parser!(u64).range(1..=Self::DRAIN_WINDOW_S_MAX)
    )]
    pub drain_window: u64,
    /// Devices that are welcomed per second. When more come, as after the crash of another node, they wait, those that
    /// bring a cursor before those that have to sync; where more wait than can be welcomed within ten seconds, they
    /// are told when to come again. 0 for any number
    #[arg(
        long, help_heading = SOCKETS, env = "KLATSCH_WELCOMES_PER_SECOND", value_name = "NUMBER",
        default_value_t = Self::WELCOMES_PER_SECOND, value_parser = value_parser!(u32).range(..=1_000_000)
    )]
    pub welcomes_per_second: u32,
    /// A balancer in front routes sockets by their parameter 'p', the partition of their user: devices that come without
    /// it, or with another one, are asked to come back with it, and every socket is closed after an hour on average, so
    /// that the balancer leads its device anew
    #[arg(long, help_heading = SOCKETS, env = "KLATSCH_ROUTED_BY_PARTITION")]
    pub routed_by_partition: bool,
    /// Commands and read marks that one socket may send per second in the long run. Beyond: 'rate_limited'
    #[arg(
        long, help_heading = RATES, env = "KLATSCH_SOCKET_RATE", value_name = "NUMBER",
        default_value_t = Self::RATE, value_parser = value_parser!(u32).range(1..=1_000_000)
    )]
    pub socket_rate: u32,
    /// Commands and read marks that one socket may send at once, after a pause
    #[arg(
        long, help_heading = RATES, env = "KLATSCH_SOCKET_BURST", value_name = "NUMBER",
        default_value_t = Self::BURST, value_parser = value_parser!(u32).range(1..=1_000_000)
    )]
    pub socket_burst: u32,
}

impl SocketOptions {
    /// Open sockets of a process, unless told otherwise.
    pub const SOCKETS_MAX: u32 = 50_000;
    /// Open sockets of a user, unless told otherwise.
    pub const SOCKETS_PER_USER: u32 = 20;
    /// Seconds over which the devices of a process that stops are spread, unless told otherwise.
    pub const DRAIN_WINDOW_S: u64 = 5;
    /// The longest drain window, in seconds.
    pub const DRAIN_WINDOW_S_MAX: u64 = 3_600;
    /// Devices that are welcomed per second, unless told otherwise.
    pub const WELCOMES_PER_SECOND: u32 = 500;
    /// Commands and marks of a socket per second, unless told otherwise.
    pub const RATE: u32 = 30;
    /// Commands and marks of a socket at once, unless told otherwise.
    pub const BURST: u32 = 60;

    /// The drain window.
    #[must_use]
    pub fn drain_window(&self) -> Duration {
        Duration::from_secs(self.drain_window)
    }

    /// By how much the drain window delays the end of the process beyond [`crate::shutdown::END_WITHIN`].
    #[must_use]
    pub fn ends_later(&self) -> Duration {
        Duration::from_secs(self.drain_window.saturating_sub(Self::DRAIN_WINDOW_S))
    }

    /// The bound on sockets from one address.
    #[must_use]
    pub fn per_address(&self) -> PerAddress {
        PerAddress::of_option(self.sockets_per_address)
    }
}

/// The rate of a user's commands, over all sockets and HTTP calls to a process.
#[derive(Debug, Clone, Args)]
pub struct UserRateOptions {
    /// Commands and read marks that one user may send to this process per second in the long run. Beyond: 'rate_limited'
    #[arg(
        long, help_heading = RATES, env = "KLATSCH_USER_RATE", value_name = "NUMBER",
        default_value_t = Self::RATE, value_parser = value_parser!(u32).range(1..=1_000_000)
    )]
    pub user_rate: u32,
    /// Commands and read marks that one user may send to this process at once, after a pause
    #[arg(
        long, help_heading = RATES, env = "KLATSCH_USER_BURST", value_name = "NUMBER",
        default_value_t = Self::BURST, value_parser = value_parser!(u32).range(1..=1_000_000)
    )]
    pub user_burst: u32,
}

impl UserRateOptions {
    /// Commands and marks of a user per second, unless told otherwise.
    pub const RATE: u32 = 60;
    /// Commands and marks of a user at once, unless told otherwise.
    pub const BURST: u32 = 120;
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
