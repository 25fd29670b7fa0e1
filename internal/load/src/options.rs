//! The options of a run, as the program takes them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

/// The most threads of the tool.
pub(crate) const THREADS_MAX: usize = 64;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One rate for the whole time
    Steady,
    /// Every five seconds, one second at ten times the rate; afterwards latencies must be as before
    Burst,
    /// A share of the devices loses its connection at once (or --command is run, such as a kill of a node): all must be
    /// back in time, and the others must hardly notice
    Storm,
    /// Some devices stop reading, some read 1 kB a second: they must be closed, the others must not notice, and they
    /// must catch up when they read again
    Slow,
    /// Many connections and hardly a message: no connection may be lost
    Idle,
    /// Everybody writes to one conversation
    FanIn,
    /// A share of the devices goes away and comes back later, with its cursor
    Away,
    /// Raises the rate until a bound is missed, backs off, and holds the rate that it names
    FindLimit,
}

impl Scenario {
    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// The options of a run.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    #[command(flatten)]
    pub(crate) world: WorldOptions,
    /// Messages a second [default: 50; 300 for fan-in, 1 for idle; where find-limit begins]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// Seconds of the scenario, without warming up and draining
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) seconds: f64,
    /// Seconds at the rate before anything is measured. The oracle counts them, too
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(crate) warm_up: f64,
    /// Bytes of a message's text
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) body_bytes: usize,
    /// The part of the devices that storm cuts and away sends away; slow stops this part and slows down another one as
    /// large [default: 0.5 for storm, 0.2 for away, 0.02 for slow]
    #[arg(long, value_name = "0..1")]
    pub(crate) share: Option<f64>,
    /// Of storm: a shell command to run instead of cutting connections, such as 'kill -9 PID'
    #[arg(long, value_name = "COMMAND")]
    pub(crate) command: Option<String>,
    /// Of slow: messages a second to the conversation that the slow devices are in. It must be enough to fill the
    /// buffers of the kernel
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    pub(crate) loud_rate: f64,
    /// Of slow: bytes of each of these
    #[arg(long, value_name = "N", default_value_t = 12_000)]
    pub(crate) loud_bytes: usize,
    /// The longest that devices may take, at the end, to show everything
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) drain: f64,
    /// Seed of who sends what where
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the report as JSON to this file, for 'compare'
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) bounds: BoundOptions,
}

impl LoadOptions {
    /// The threads that the tool may run on.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.world.threads.clamp(1, THREADS_MAX)
    }

    /// The file that the report is written to.
    #[must_use]
    pub fn json(&self) -> Option<&Path> {
        self.json.as_deref()
    }
}

/// The server, and the devices on it.
#[derive(Debug, Clone, Args)]
pub struct WorldOptions {
    /// The server: all services, or the chat service
    #[arg(long, env = "KLATSCH_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// The user service, if it is elsewhere
    #[arg(long, value_name = "URL")]
    pub(crate) users_url: Option<String>,
    /// The nodes of the websocket service, if they are elsewhere. Devices are spread over them, and go to the next one
    /// when they lose their connection
    #[arg(long, value_name = "URL,URL", value_delimiter = ',')]
    pub(crate) sockets: Vec<String>,
    /// The accounts, their conversations and how to sign in again: made once, because each account costs the server a
    /// password hash. The file is its owner's alone
    #[arg(long, value_name = "FILE", default_value = "klatsch-load-accounts.json")]
    pub(crate) accounts: PathBuf,
    /// Devices, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) devices: usize,
    /// Devices of each user
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) devices_per_user: usize,
    /// The sizes of conversations: each user is in one of each size. Two is a direct one
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [2, 10])]
    pub(crate) sizes: Vec<usize>,
    /// Connections opened a second, at the beginning
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    pub(crate) connect_rate: f64,
    /// Threads of the tool
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,
}

/// What a run must keep, beside the oracle's zeros. A bound of 0 is no bound.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Bounds")]
pub struct BoundOptions {
    /// The 99th percentile from a send's intended time to its acknowledgement
    #[arg(long, value_name = "MS", default_value_t = 250.0)]
    pub(crate) ack_p99_ms: f64,
    /// The 99th percentile from a send's intended time until another device shows it
    #[arg(long, value_name = "MS", default_value_t = 500.0)]
    pub(crate) shown_p99_ms: f64,
    /// The 99th percentile while a burst lasts
    #[arg(long, value_name = "MS", default_value_t = 2000.0)]
    pub(crate) burst_p99_ms: f64,
    /// The others' 99th percentile during the disturbance, as a multiple of before (and 2 ms more) [default: 3 for
    /// storm, 1.1 for slow, 1.5 for burst and away]
    #[arg(long, value_name = "FACTOR")]
    pub(crate) others_times: Option<f64>,
    /// How long a device that lost its connection may take to be back
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(crate) back_within: f64,
    /// The most connections that may be welcomed in one second after the beginning
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) connects_per_second: u64,
    /// How late the tool itself may be, at its 99th percentile: beyond, the run proves nothing
    #[arg(long, value_name = "MS", default_value_t = 50.0)]
    pub(crate) tool_p99_ms: f64,
}

/// Seconds as a duration; what is no time is none.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
