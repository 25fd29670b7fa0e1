//! Whole runs: a load, disturbances, and the oracle's verdict. The end-to-end tests and `bin/load` stand on these.

mod cluster;
mod rebuild;
mod replay;
mod report;
mod single;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use tokio::time::Instant;

use crate::device::Endpoints;
use crate::engines::Engines;
use crate::load::{Faults, Killed, LoadConfig, World, Written};
use crate::oracle::Logged;

pub use cluster::{cluster, judge, judge_cluster, talk_on_cluster};
pub use rebuild::{rebuild_beside_single, rebuild_cluster, rebuild_single};
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
    /// So many times, the clock of each is stepped; it needs one of its own.
    pub clocks: usize,
    /// So many times, other producers write records of every kind to every topic.
    pub foreign: usize,
}

impl Harm {
    /// Kills alone.
    #[must_use]
    pub const fn kills(kills: usize) -> Self {
        Self { kills, faults: 0, clocks: 0, foreign: 0 }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub struct Harmed {
    /// Who was killed.
    pub killed: Killed,
    /// What else went wrong.
    pub faults: Faults,
    /// What other producers wrote.
    pub foreign: Written,
}

/// How long devices may take to come to the end of the log, after everything was disturbed.
const REACHED_WITHIN: Duration = Duration::from_secs(600);

/// What went wrong, and below it what the programs said: the cause comes first, where a long report is cut.
fn with_logs(cause: &Error, logs: &str) -> Error {
    anyhow!("{cause:#}\n{logs}")
}

/// A load while harm is done: they talk at least until that is over. Returns when every send is resolved.
///
/// # Errors
/// When something does not come about in time.
pub async fn talk(
    endpoints: &Endpoints,
    config: LoadConfig,
    harming: impl AsyncFnOnce(&World) -> Result<Harmed>,
) -> Result<(World, Report)> {
    let world = World::begin(endpoints, config).await?;
    let (mut report, begun, enough) = (Report::default(), Instant::now(), AtomicBool::new(false));
    let harming = async {
        let harmed = harming(&world).await;
        enough.store(true, Ordering::Relaxed);
        harmed
    };
    let harmed;
    (report.messages, harmed) = tokio::try_join!(world.talk(&enough), harming)?;
    (report.killed, report.faults, report.foreign) = (harmed.killed, harmed.faults, harmed.foreign);
    report.talked = begun.elapsed();
    world.resolve().await?;
    Ok((world, report))
}

/// Reads the log: with what cannot be read, if others wrote to it.
async fn read(engines: &Engines, report: &Report) -> Result<Logged> {
    let (log, codec) = (&*engines.log, &engines.codec);
    if report.foreign.is_empty() { Logged::read(log, codec).await } else { Logged::read_with_foreign(log, codec).await }
}
