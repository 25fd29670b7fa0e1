//! What an operator, or a test, can set. Everything else is a named constant beside its use.

use std::time::Duration;

use commands::Allowance;
use domain::RULES_NEWEST;
use process::Origins;

/// Bounds and times of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Browser origins that may open sockets. A client that sends no `Origin` is not a browser and always may.
    pub origins: Origins,
    /// Silence after which the server pings; a device that was silent for three of these is let go.
    pub ping: Duration,
    /// How long a new socket may take to say `hello`.
    pub hello_wait: Duration,
    /// How long a device may take nothing of what is being sent to it. Beyond: closed with `Slow`.
    pub write_wait: Duration,
    /// Open sockets of one user on this node. At the bound the one silent for longest is closed with `TooMany`.
    pub sockets_per_user_max: usize,
    /// Open sockets of this node. At the bound a new one is closed with `TooMany`.
    pub sockets_max: usize,
    /// On shutdown, sockets are closed at random moments within so long.
    pub drain_window: Duration,
    /// Recent records that are kept per partition.
    pub ring_records_max: usize,
    /// Bytes of recent records that are kept per partition. At either bound the oldest goes; who still needed it reads
    /// the log instead, or is closed with `Slow`.
    pub ring_bytes_max: usize,
    /// Bytes of the lists of recipients of those records. At the bound the oldest list goes and its record stays: a
    /// device that comes back from before it reads the log instead.
    pub ring_list_bytes_max: usize,
    /// The most records of the log that a device which comes back is brought: records that are addressed to its user.
    /// Beyond: `reset` with `too_far`.
    pub range_records_max: u64,
    /// Bytes of these records' frames.
    pub range_bytes_max: usize,
    /// The longest range of the log that is looked through for a device that comes back, whomever its records are
    /// addressed to: one pass does it for all who wait. Beyond: `reset` with `too_far`.
    pub range_scan_records_max: u64,
    /// Bytes of that range, with the lists of recipients.
    pub range_scan_bytes_max: usize,
    /// How long a partition is still read after its last socket went.
    pub reader_idle: Duration,
    /// How often a running reader makes sure that the partition is still the one it was.
    pub position_check: Duration,
    /// What users may send over all of their sockets together; and over HTTP, where a process serves both and gives
    /// both the same.
    pub allowance: Allowance,
    /// Commands and marks that a socket may send at once, after a pause.
    pub burst: u32,
    /// Commands and marks that a socket may send per second in the long run. Beyond: `rate_limited`.
    pub rate: u32,
    /// The version of the rules that commands are made under: [`RULES_NEWEST`], or another to act as another program in
    /// a test.
    pub rules: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origins: Origins::default(),
            ping: Duration::from_secs(30),
            hello_wait: Duration::from_secs(10),
            write_wait: Duration::from_secs(10),
            sockets_per_user_max: 20,
            sockets_max: 50_000,
            drain_window: Duration::from_secs(5),
            ring_records_max: 4096,
            ring_bytes_max: 4 << 20,
            ring_list_bytes_max: 4 << 20,
            range_records_max: 20_000,
            range_bytes_max: 16 << 20,
            range_scan_records_max: 200_000,
            range_scan_bytes_max: 1 << 30,
            reader_idle: Duration::from_secs(30),
            position_check: Duration::from_secs(15),
            allowance: Allowance::default(),
            burst: 60,
            rate: 30,
            rules: RULES_NEWEST,
        }
    }
}
