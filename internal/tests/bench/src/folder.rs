//! A `klatsch` whose data folder is filled while it does not run, so that no limit of its services slows that down.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bench::processes::cpu_of;
use testkit::engines::Engines;
use testkit::numbered::Users;
use testkit::programs::Single;
use tokio::time::{Instant, sleep};

use crate::messages::{Appended, Messages};
use crate::wishes::Wishes;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The run is void when the consumers judge nothing for this long.
const QUIET: Duration = Duration::from_secs(60);

/// A `klatsch` and its folder.
pub(crate) struct Folder {
    pub(crate) single: Single,
    /// What it was filled with.
    appended: Appended,
}

impl Folder {
    /// With topics and signing keys.
    pub(crate) async fn new(wishes: &Wishes) -> Result<Self> {
        let mut single = Single::new().await?;
        single.program.limit(wishes.cores.limits());
        single.program.start().await?;
        single.program.stop().await?;
        Ok(Self { single, appended: Appended::default() })
    }

    /// The tokens of the first users.
    pub(crate) fn tokens(&self, count: usize) -> Result<Vec<String>> {
        Users::of(&self.single.data().join("signing-key.pem"))?.tokens(count)
    }

    /// Appends what `fill` says while `klatsch` does not run.
    pub(crate) async fn fill(&mut self, fill: impl AsyncFnOnce(&mut Messages) -> Result<()>) -> Result<()> {
        let engines = Engines::embedded(&self.single.data()).await?;
        let mut messages = Messages::new(&engines.log);
        fill(&mut messages).await?;
        messages.durable().await?;
        self.appended.add(std::mem::take(&mut messages.appended));
        drop(messages);
        engines.close().await;
        Ok(())
    }

    /// Looks, while `klatsch` does not run, whether its rows have every message that was appended.
    ///
    /// # Errors
    /// When they do not: such a run is void.
    pub(crate) async fn all_stored(&self) -> Result<()> {
        let engines = Engines::embedded(&self.single.data()).await?;
        let stored = self.appended.all_stored(&engines.store).await;
        engines.close().await;
        stored
    }

    /// Waits until both consumers have judged so many events since the start.
    pub(crate) async fn judged(&self, events: u64) -> Result<()> {
        let (mut last, mut since) = ((0, 0), Instant::now());
        loop {
            let metrics = self.single.program.metrics().await?;
            let now = (total(&metrics, "klatsch_storage_events_total"), total(&metrics, "klatsch_fanout_events_total"));
            if now.0 >= events && now.1 >= events {
                return Ok(());
            }
            if now != last {
                (last, since) = (now, Instant::now());
            }
            ensure!(since.elapsed() < QUIET, "void: of {events} events, storage and fan-out judged only {now:?}");
            sleep(LOOK_EVERY).await;
        }
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.single.program.pid().context("klatsch runs")
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.pid()?)
    }
}

/// The sum of a counter over its labels.
fn total(metrics: &str, name: &str) -> u64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let values = metrics.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as u64
}
