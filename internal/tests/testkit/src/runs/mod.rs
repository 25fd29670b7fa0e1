//! Whole runs: a load, faults, and the oracle's verdict. The end-to-end tests and `bin/load` use them.

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

/// The faults that are caused while the programs are under load.
#[derive(Debug, Clone, Copy, Default)]
pub struct Harm {
    /// How often each program is killed.
    pub kills: usize,
    /// How often every possible [`crate::load::Fault`] is caused.
    pub faults: usize,
    /// How often the clock of each program is stepped; the programs need clocks of their own.
    pub clocks: usize,
    /// How often other producers write records of every kind to every topic.
    pub foreign: usize,
}

impl Harm {
    /// Only kills.
    #[must_use]
    pub const fn kills(kills: usize) -> Self {
        Self { kills, faults: 0, clocks: 0, foreign: 0 }
    }
}

/// The faults that were caused.
#[derive(Debug, Default)]
pub struct Harmed {
    /// The programs that were killed.
    pub killed: Killed,
    /// Other faults.
    pub faults: Faults,
    /// Records of other producers.
    pub foreign: Written,
}

/// How long devices may take to reach the end of the log after the faults.
const REACHED_WITHIN: Duration = Duration::from_secs(600);

/// The error, followed by the programs' logs: the cause comes first, because long reports are cut at the end.
fn with_logs(cause: &Error, logs: &str) -> Error {
    anyhow!("{cause:#}\n{logs}")
}

/// Runs a load while faults are caused: users talk at least until the last one. Returns when every command is
/// resolved.
///
/// # Errors
/// When a step does not complete in time.
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

/// Reads the log; records that cannot be decoded are allowed only if other producers wrote to it.
async fn read(engines: &Engines, report: &Report) -> Result<Logged> {
    let (log, codec) = (&*engines.log, &engines.codec);
    if report.foreign.is_empty() { Logged::read(log, codec).await } else { Logged::read_with_foreign(log, codec).await }
}
