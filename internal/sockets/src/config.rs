//! The settings of a node that an operator or a test can change. Every other bound is a named constant beside its
//! use.

use std::time::Duration;

use commands::Allowance;
use domain::RULES_NEWEST;
use process::options::{SocketOptions, UserRateOptions};
use process::serve::PerAddress;
use process::{Origins, ProxyOptions};

/// The mean age of a socket behind a balancer that routes by partition: see [`Config::rerouted_after`]. Of 50,000
/// sockets, 14 come again in a second.
pub const REROUTED_AFTER: Duration = Duration::from_secs(3600);

/// Bounds and times of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Browser origins that may open sockets. A client that sends no `Origin` is not a browser and is always
    /// allowed.
    pub origins: Origins,
    /// How long a device may be silent before the server pings it. After three times this, the socket is closed
    /// with `Idle`.
    pub ping: Duration,
    /// How long a new socket may take to send `hello`.
    pub hello_wait: Duration,
    /// How long a device may read nothing of what is being written to it. Beyond: closed with `Slow`.
    pub write_wait: Duration,
    /// Open sockets of one user on this node. At the bound the one that was silent for longest is closed with
    /// `TooMany`.
    pub sockets_per_user_max: usize,
    /// Open sockets of this node. At the bound a new one is closed with `TooMany`.
    pub sockets_max: usize,
    /// Open sockets from one address on this node. At the bound a new one is closed with `TooMany`.
    pub sockets_per_address: PerAddress,
    /// Proxies in front of the node that report the address they were asked from.
    pub trusted_proxies: usize,
    /// On shutdown, the sockets are closed one after another, evenly spread over this window.
    pub drain_window: Duration,
    /// Devices that are welcomed per second; 0 for any number: see `admission`.
    pub welcomes_per_second: u32,
    /// Whether a balancer in front routes sockets by the partition in their URL: devices that came without it are asked
    /// to come back with it.
    pub routed_by_partition: bool,
    /// Behind such a balancer, the mean age at which a socket is closed with `Draining`, at random between half of it and
    /// one and a half of it, so that the balancer chooses anew: a node that was away gets its devices back.
    pub rerouted_after: Duration,
    /// Recent records that are kept per partition.
    pub ring_records_max: usize,
    /// Records from before its beginning that a node takes into the ring when it begins to read a partition, where they are
    /// read within a second; fewer than `ring_records_max`.
    pub ring_warm_records: usize,
    /// Bytes of recent records that are kept per partition. At either bound the oldest record is dropped; a socket
    /// that had not taken it reads on from the log.
    pub ring_bytes_max: usize,
    /// Bytes of the recipient lists of those records, per partition. At the bound the oldest list is dropped and
    /// its record stays: a device that reconnects with an older cursor is served from the log instead.
    pub ring_list_bytes_max: usize,
    /// The most records that are read from the log for a device that reconnects, counting those addressed to its
    /// user. Beyond: `reset` with `too_far`.
    pub range_records_max: u64,
    /// The most bytes of these records' frames.
    pub range_bytes_max: usize,
    /// The longest range of the log that is scanned for a device that reconnects, counting records for all users:
    /// one pass scans it for all waiting devices. Beyond: `reset` with `too_far`.
    pub range_scan_records_max: u64,
    /// The most bytes of that range, with the recipient lists.
    pub range_scan_bytes_max: usize,
    /// How long a partition is still read after its last socket was closed.
    pub reader_idle: Duration,
    /// How often a running reader verifies that the record before its position is still the same one.
    pub position_check: Duration,
    /// The rate limit of each user over all of their sockets; and over HTTP, where a process serves both and gives
    /// both the same `Allowance`.
    pub allowance: Allowance,
    /// Commands and read marks that a socket may send at once, after a pause.
    pub burst: u32,
    /// Commands and read marks that a socket may send per second in the long run. Beyond: `rate_limited`.
    pub rate: u32,
    /// The version of the rules that commands are made under: [`RULES_NEWEST`], or another one to act as another
    /// program in a test.
    pub rules: u32,
}

impl Config {
    /// The settings that an operator asks for; everything else as by default.
    #[must_use]
    pub fn of_options(options: &SocketOptions, rate: &UserRateOptions, proxies: ProxyOptions) -> Self {
        Self {
            sockets_per_user_max: options.sockets_per_user as usize,
            sockets_max: options.sockets_max as usize,
            sockets_per_address: options.per_address(),
            trusted_proxies: proxies.trusted_proxies,
            drain_window: options.drain_window(),
            welcomes_per_second: options.welcomes_per_second,
            routed_by_partition: options.routed_by_partition,
            burst: options.socket_burst,
            rate: options.socket_rate,
            allowance: Allowance::new(rate.user_burst, rate.user_rate),
            ..Self::default()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origins: Origins::default(),
            ping: Duration::from_secs(30),
            hello_wait: Duration::from_secs(10),
            write_wait: Duration::from_secs(10),
            sockets_per_user_max: SocketOptions::SOCKETS_PER_USER as usize,
            sockets_max: SocketOptions::SOCKETS_MAX as usize,
            sockets_per_address: PerAddress::of_option(None),
            trusted_proxies: 0,
            drain_window: Duration::from_secs(SocketOptions::DRAIN_WINDOW_S),
            welcomes_per_second: SocketOptions::WELCOMES_PER_SECOND,
            routed_by_partition: false,
            rerouted_after: REROUTED_AFTER,
            ring_records_max: 16_384,
            ring_warm_records: 4_096,
            ring_bytes_max: 4 << 20,
            ring_list_bytes_max: 4 << 20,
            range_records_max: 20_000,
            range_bytes_max: 16 << 20,
            range_scan_records_max: 200_000,
            range_scan_bytes_max: 1 << 30,
            reader_idle: Duration::from_secs(30),
            position_check: Duration::from_secs(15),
            allowance: Allowance::default(),
            burst: SocketOptions::BURST,
            rate: SocketOptions::RATE,
            rules: RULES_NEWEST,
        }
    }
}
