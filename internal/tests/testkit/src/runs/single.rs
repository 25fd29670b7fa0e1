//! A load on `klatsch`, in one process on the embedded engines.

use std::time::Duration;

use anyhow::Result;

use super::{Harm, Harmed, REACHED_WITHIN, Report, read, talk, with_logs};
use crate::engines::Engines;
use crate::load::{LoadConfig, World, Written, disturb_single, kill_single, step_clocks, write_foreign};
use crate::oracle::{Truth, check_deliveries, check_devices, check_history, check_store, settled};
use crate::programs::Single;

/// Runs the load on `single` while faults are caused, then compares everything. `single` is stopped at the end.
///
/// # Errors
/// When a step does not complete in time. Faults that the oracle finds are no error: the report has them.
pub async fn single(single: &mut Single, config: LoadConfig, harm: Harm) -> Result<Report> {
    let outcome = async {
        let (mut world, mut report) = talk_on_single(single, config, harm).await?;
        let truth = truth_of_single(single, &report).await?;
        judge_single(single, &mut world, &truth, &mut report).await?;
        Ok(report)
    };
    let outcome: Result<Report> = outcome.await;
    outcome.map_err(|cause| with_logs(&cause, &format!("klatsch's log ends:\n{}", single.program.log_tail())))
}

/// Starts `single` if it is not running, and the load on it. Returns when every command is resolved.
///
/// # Errors
/// When a step does not complete in time.
pub async fn talk_on_single(single: &mut Single, config: LoadConfig, harm: Harm) -> Result<(World, Report)> {
    if single.program.pid().is_none() {
        single.program.start().await?;
    }
    let (endpoints, seed) = (single.endpoints(), config.seed);
    let harming = async |world: &World| {
        let foreign = if harm.foreign > 0 { write_beside(single, world, harm.foreign).await? } else { Written::new() };
        let killed = kill_single(single, harm.kills, seed).await?;
        let faults = disturb_single(single, harm.faults).await?;
        let faults = faults.and(step_clocks(vec![&single.program], harm.clocks).await?);
        Ok(Harmed { killed, faults, foreign })
    };
    talk(&endpoints, config, harming).await
}

/// Writes records of other producers. While `klatsch` runs, no other process can open its log, so it is stopped
/// meanwhile.
async fn write_beside(single: &mut Single, world: &World, rounds: usize) -> Result<Written> {
    single.program.stop().await?;
    let engines = Engines::embedded(&single.data()).await?;
    let written = write_foreign(world, &engines, rounds, Duration::ZERO).await;
    engines.close().await;
    single.program.start().await?;
    written
}

/// Judges the log. It can be read only while `klatsch` is not running, which is stopped for it and started again.
///
/// # Errors
/// When it does not stop or start, or its folder cannot be read.
pub async fn truth_of_single(single: &mut Single, report: &Report) -> Result<Truth> {
    single.program.stop().await?;
    let engines = Engines::embedded(&single.data()).await?;
    let truth = Truth::of(&read(&engines, report).await?);
    engines.close().await;
    single.program.start().await?;
    Ok(truth)
}

/// Waits until devices and storage have reached the end of the log and compares everything. `single` and the devices
/// are stopped.
///
/// # Errors
/// When a step does not complete in time.
pub async fn judge_single(single: &mut Single, world: &mut World, truth: &Truth, report: &mut Report) -> Result<()> {
    // A device that has not reached the end by then appears in the verdict.
    let reached = world.until("at the end of the log", REACHED_WITHIN, |device| truth.reached(&device.memory())).await;
    settled(&world.devices[0].http).await?;
    report.verdict.join(check_history(truth, world).await?);
    world.stop().await;
    single.program.stop().await?;

    report.verdict.join(check_devices(truth, &world.devices));
    let engines = Engines::embedded(&single.data()).await?;
    let logged = read(&engines, report).await?;
    report.remember(world, truth, &logged);
    report.verdict.join(check_deliveries(truth, &logged));
    report.verdict.join(check_store(&engines.log, &engines.codec, &engines.store).await?);
    engines.close().await;
    if report.verdict.is_zero() {
        reached?;
    }
    Ok(())
}
