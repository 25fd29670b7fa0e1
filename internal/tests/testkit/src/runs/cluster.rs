//! A load on the separate programs, on real servers.

use std::time::Duration;

use anyhow::Result;

use super::{Harm, Harmed, REACHED_WITHIN, Report, read, talk, with_logs};
use crate::engines::Engines;
use crate::load::{LoadConfig, World, Written, disturb_cluster, kill_cluster, step_clocks, write_foreign};
use crate::oracle::{Truth, check_deliveries, check_devices, check_history, check_store, settled};
use crate::programs::Cluster;

/// The longest pause between two records of other producers.
const APART: Duration = Duration::from_millis(500);

/// Runs the load on `cluster` while faults are caused, then compares everything.
///
/// # Errors
/// When a step does not complete in time. Faults that the oracle finds are no error: the report has them.
pub async fn cluster(cluster: &mut Cluster, config: LoadConfig, harm: Harm) -> Result<Report> {
    let outcome = async {
        let (mut world, mut report) = talk_on_cluster(cluster, config, harm).await?;
        judge_cluster(cluster, &mut world, &mut report).await?;
        Ok(report)
    };
    let outcome: Result<Report> = outcome.await;
    outcome.map_err(|cause| with_logs(&cause, &cluster.logs()))
}

/// Starts the programs that are not running, and the load on them. Returns when every command is resolved.
///
/// # Errors
/// When a step does not complete in time.
pub async fn talk_on_cluster(cluster: &mut Cluster, config: LoadConfig, harm: Harm) -> Result<(World, Report)> {
    cluster.start().await?;
    let (endpoints, seed) = (cluster.endpoints(), config.seed);
    let harming = async |world: &World| {
        let foreign = if harm.foreign > 0 {
            let engines = Engines::cluster(cluster).await?;
            let written = write_foreign(world, &engines, harm.foreign, APART).await?;
            engines.close().await;
            written
        } else {
            Written::new()
        };
        let killed = kill_cluster(cluster, harm.kills, seed).await?;
        let faults = disturb_cluster(cluster, harm.faults, seed).await?;
        let faults = faults.and(step_clocks(cluster.programs(), harm.clocks).await?);
        Ok(Harmed { killed, faults, foreign })
    };
    talk(&endpoints, config, harming).await
}

/// Waits until devices and storage have reached the end of the log and compares everything. The devices are stopped,
/// the programs go on.
///
/// # Errors
/// When a step does not complete in time.
pub async fn judge_cluster(cluster: &Cluster, world: &mut World, report: &mut Report) -> Result<()> {
    let engines = Engines::cluster(cluster).await?;
    judge(&engines, world, report).await?;
    engines.close().await;
    Ok(())
}

/// The same for any programs on these engines.
///
/// # Errors
/// When a step does not complete in time.
pub async fn judge(engines: &Engines, world: &mut World, report: &mut Report) -> Result<()> {
    let truth = Truth::of(&read(engines, report).await?);
    // A device that has not reached the end by then appears in the verdict.
    let reached = world.until("at the end of the log", REACHED_WITHIN, |device| truth.reached(&device.memory())).await;
    settled(&world.devices[0].http).await?;
    report.verdict.join(check_history(&truth, world).await?);
    world.stop().await;

    report.verdict.join(check_devices(&truth, &world.devices));
    let logged = read(engines, report).await?;
    report.remember(world, &truth, &logged);
    report.verdict.join(check_deliveries(&truth, &logged));
    report.verdict.join(check_store(&engines.log, &engines.codec, &engines.store).await?);
    if report.verdict.is_zero() {
        reached?;
    }
    Ok(())
}
