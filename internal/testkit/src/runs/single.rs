//! A load on `klatsch`, in one process on the embedded engines.

use anyhow::Result;

use super::{Harm, REACHED_WITHIN, Report, talk, with_logs};
use crate::engines::Engines;
use crate::load::{LoadConfig, World, disturb_single, kill_single, step_clocks};
use crate::oracle::{Logged, Truth, check_deliveries, check_devices, check_history, check_store, settled};
use crate::programs::Single;

/// Runs the load on `single`, with harm done on the way; then compares everything. It is stopped at the end.
///
/// # Errors
/// When something does not come about in time. What the oracle finds is no error but stands in the report.
pub async fn single(single: &mut Single, config: LoadConfig, harm: Harm) -> Result<Report> {
    let outcome = async {
        let (mut world, mut report) = talk_on_single(single, config, harm).await?;
        let truth = truth_of_single(single).await?;
        judge_single(single, &mut world, &truth, &mut report).await?;
        Ok(report)
    };
    let outcome: Result<Report> = outcome.await;
    outcome.map_err(|cause| with_logs(&cause, &format!("klatsch's log ends:\n{}", single.program.log_tail())))
}

/// Starts `single` if it does not run, and the load on it; returns when every send is resolved.
///
/// # Errors
/// When something does not come about in time.
pub async fn talk_on_single(single: &mut Single, config: LoadConfig, harm: Harm) -> Result<(World, Report)> {
    if single.program.pid().is_none() {
        single.program.start().await?;
    }
    let (endpoints, seed) = (single.endpoints(), config.seed);
    let harming = async {
        let killed = kill_single(single, harm.kills, seed).await?;
        let faults = disturb_single(single, harm.faults).await?;
        Ok((killed, faults.and(step_clocks(vec![&single.program], harm.clocks).await?)))
    };
    talk(&endpoints, config, harming).await
}

/// What the log comes to. It can be read only while `klatsch` is not running: it is stopped, and started again.
///
/// # Errors
/// When it does not stop or start, or its folder cannot be read.
pub async fn truth_of_single(single: &mut Single) -> Result<Truth> {
    single.program.stop().await?;
    let engines = Engines::embedded(&single.data()).await?;
    let truth = Truth::of(&Logged::read(&*engines.log, &engines.codec).await?);
    engines.close().await;
    single.program.start().await?;
    Ok(truth)
}

/// Waits until everybody has come to the end of the log and compares everything. `single` and the world are stopped.
///
/// # Errors
/// When something does not come about in time.
pub async fn judge_single(single: &mut Single, world: &mut World, truth: &Truth, report: &mut Report) -> Result<()> {
    // Who has not come to the end by then shows in the verdict.
    let reached = world.until("at the end of the log", REACHED_WITHIN, |device| truth.reached(&device.memory())).await;
    settled(&world.devices[0].http).await?;
    report.verdict.join(check_history(truth, world).await?);
    world.stop().await;
    single.program.stop().await?;

    report.remember(world, truth);
    report.verdict.join(check_devices(truth, &world.devices));
    let engines = Engines::embedded(&single.data()).await?;
    let logged = Logged::read(&*engines.log, &engines.codec).await?;
    report.verdict.join(check_deliveries(truth, &logged));
    report.verdict.join(check_store(&engines.log, &engines.codec, &engines.store).await?);
    engines.close().await;
    if report.verdict.is_zero() {
        reached?;
    }
    Ok(())
}
