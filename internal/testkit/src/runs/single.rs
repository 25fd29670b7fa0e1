//! A load on `klatsch`, in one process on the embedded engines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::Report;
use crate::engines::Engines;
use crate::load::{LoadConfig, World, kill_single};
use crate::oracle::{Logged, Truth, check_deliveries, check_devices, check_history, check_store, settled};
use crate::programs::Single;

/// How long devices may take to come to the end of the log after a restart.
const REACHED_WITHIN: Duration = Duration::from_secs(90);

/// Runs the load on `single` (started here if it does not run), killing it so many times on the way; then compares
/// everything. `single` is stopped at the end.
///
/// # Errors
/// When something does not come about in time. What the oracle finds is no error but stands in the report.
pub async fn single(single: &mut Single, config: LoadConfig, kills: usize) -> Result<Report> {
    let outcome = run(single, config, kills).await;
    outcome.with_context(|| format!("klatsch's log ends:\n{}", single.program.log_tail()))
}

async fn run(single: &mut Single, config: LoadConfig, kills: usize) -> Result<Report> {
    if single.program.pid().is_none() {
        single.program.start().await?;
    }
    let (mut report, seed) = (Report::default(), config.seed);
    let mut world = World::begin(&single.endpoints(), config).await?;
    let (begun, enough) = (Instant::now(), AtomicBool::new(false));
    let killing = async {
        let killed = kill_single(single, kills, seed).await;
        enough.store(true, Ordering::Relaxed);
        killed
    };
    let (messages, killed) = tokio::try_join!(world.talk(&enough), killing)?;
    (report.messages, report.killed, report.talked) = (messages, killed, begun.elapsed());
    world.resolve().await?;

    // The log can be read only while klatsch is not running; that it comes back with everything is part of the test.
    single.program.stop().await?;
    let engines = Engines::embedded(&single.data()).await?;
    let truth = Truth::of(&Logged::read(&*engines.log, &engines.codec).await?);
    engines.close().await;
    single.program.start().await?;
    // Who has not come to the end by then shows in the verdict.
    let reached = world.until("at the end of the log", REACHED_WITHIN, |device| truth.reached(&device.memory())).await;
    settled(&world.devices[0].http).await?;
    report.verdict.join(check_history(&truth, &world).await?);
    world.stop().await;
    single.program.stop().await?;

    report.remember(&world, &truth);
    report.verdict.join(check_devices(&truth, &world.devices));
    let engines = Engines::embedded(&single.data()).await?;
    let logged = Logged::read(&*engines.log, &engines.codec).await?;
    report.verdict.join(check_deliveries(&truth, &logged));
    report.verdict.join(check_store(&engines.log, &engines.codec, &engines.store).await?);
    engines.close().await;
    if report.verdict.is_zero() {
        reached?;
    }
    Ok(report)
}
