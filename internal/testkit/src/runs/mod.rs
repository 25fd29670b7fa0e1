//! Whole runs: a load, disturbances, and the oracle's verdict. The end-to-end tests and `bin/load` stand on these.

mod cluster;
mod replay;
mod report;
mod single;

use std::time::Duration;

pub use cluster::{cluster, judge_cluster, talk_on_cluster};
pub use replay::{replay_cluster, replay_single};
pub use report::{Report, percentiles};
pub use single::{judge_single, single, talk_on_single, truth_of_single};

/// What is done to the programs while they are under load.
#[derive(Debug, Clone, Copy, Default)]
pub struct Harm {
    /// So many times, each program is killed.
    pub kills: usize,
    /// So many times, every [`crate::load::Fault`] happens that can.
    pub faults: usize,
}

impl Harm {
    /// Kills alone.
    #[must_use]
    pub const fn kills(kills: usize) -> Self {
        Self { kills, faults: 0 }
    }
}

/// How long devices may take to come to the end of the log, after everything was disturbed.
const REACHED_WITHIN: Duration = Duration::from_secs(90);
