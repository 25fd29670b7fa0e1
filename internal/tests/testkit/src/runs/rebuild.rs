//! Rebuilds the rows in a new incarnation beside the served ones: the rebuild is killed at random times, then the
//! incarnations are switched and switched back. The served rows must be complete at all times.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Context as _, Result, ensure};
use workload::Random;

use super::cluster::judge_cluster;
use super::replay::all_there;
use super::single::{judge_single, talk_on_single, truth_of_single};
use super::{Harm, Harmed, Report, talk, with_logs};
use crate::load::{LoadConfig, World};
use crate::programs::{Cluster, Ran, Setup, Single};

/// The arguments of `klatschctl` that build, compare and switch.
const REBUILD: [&str; 5] = ["replay", "storage", "--from-start", "--into-new-incarnation", "--yes"];
/// The longest time before a kill, in milliseconds. Later kills hit a rebuild that is further on, or complete.
const KILL_WITHIN_MS: u64 = 400;
/// Kills the program after a delay: `exec` turns the shell into the program, so its process id stays `$$`.
const KILLED: &str = "(sleep $KLATSCH_TEST_KILL_AFTER; kill -9 $$) &";
/// The signal that ended a killed program.
const SIGKILL: i32 = 9;

/// Runs `klatschctl` and kills it after so many milliseconds. Returns whether it was killed before it had completed.
async fn killed(arguments: &[String], environment: &[(&'static str, String)], after_ms: u64) -> Result<bool> {
    let mut environment = environment.to_vec();
    environment.push(("KLATSCH_TEST_KILL_AFTER", format!("0.{after_ms:03}")));
    let arguments = arguments.iter().map(Into::into).collect();
    let ran = Ran::of(Setup { program: "klatschctl", arguments, environment, limits: KILLED.to_owned() }).await?;
    if ran.status.signal() == Some(SIGKILL) {
        return Ok(true);
    }
    ran.success().map(|_| false)
}

/// Runs a load on `klatsch`, stops it, and rebuilds its rows, killing the rebuild `kills` times. After each kill the
/// served rows must be unchanged; at the end they must be the same in the new incarnation, and after switching back.
///
/// # Errors
/// When a checksum differs or a command fails. Faults that the oracle finds are no error: the report has them.
pub async fn rebuild_single(single: &mut Single, config: LoadConfig, kills: usize) -> Result<Report> {
    let (mut random, mut tally) = (Random::new(config.seed ^ 0x4eb1), Vec::new());
    let (mut world, mut report) = talk_on_single(single, config, Harm::default()).await?;
    let truth = truth_of_single(single, &report).await?;
    all_there(&world, &truth).await?;
    single.program.stop().await?;

    let data = single.data().to_string_lossy().into_owned();
    let words =
        |words: &[&str]| -> Vec<String> { words.iter().copied().chain(["--data", &data]).map(str::to_owned).collect() };
    let run = async |line: &[&str]| -> Result<String> {
        let arguments = words(line).iter().map(Into::into).collect();
        let ran = Ran::of(Setup { program: "klatschctl", arguments, ..Setup::default() }).await?;
        ran.success().with_context(|| line.join(" "))
    };
    let before = total(&run(&["checksum"]).await?)?;
    for kill in 0..kills {
        let was_killed = killed(&words(&REBUILD), &[], random.below(KILL_WITHIN_MS)).await?;
        let served = total(&run(&["checksum"]).await?)?;
        ensure!(served == before, "after kill {kill} the served rows are {served}, not {before}");
        tally.push(was_killed);
    }
    println!("{} of {kills} rebuilds were killed before they were done", tally.iter().filter(|was| **was).count());
    run(&REBUILD).await?;
    for way in [&["incarnations", "back", "--yes"][..], &["incarnations", "back", "--yes"]] {
        ensure!(total(&run(&["checksum"]).await?)? == before, "the rows that are served now are not those of before");
        run(way).await?;
    }
    ensure!(total(&run(&["checksum"]).await?)? == before, "the rows before are not what they were");

    single.program.start().await?;
    judge_single(single, &mut world, &truth, &mut report).await?;
    Ok(report)
}

/// The same on a cluster whose programs run under load all the while, with a switch and a switch back. No connection
/// of a device may end.
///
/// # Errors
/// As [`rebuild_single`].
pub async fn rebuild_cluster(cluster: &mut Cluster, config: LoadConfig, kills: usize) -> Result<Report> {
    let outcome = rebuilt_under_load(cluster, config, kills).await;
    outcome.map_err(|cause| with_logs(&cause, &cluster.logs()))
}

async fn rebuilt_under_load(cluster: &mut Cluster, config: LoadConfig, kills: usize) -> Result<Report> {
    // Devices that disconnect by themselves would hide that.
    let config = LoadConfig { unsteady: false, ..config };
    cluster.start().await?;
    let (endpoints, environment) = (cluster.endpoints(), cluster.environment());
    let mut random = Random::new(config.seed ^ 0x4eb1);
    let harming = async |_: &World| {
        let line: Vec<String> = REBUILD.iter().map(|word| (*word).to_owned()).collect();
        for _ in 0..kills {
            killed(&line, &environment, random.below(KILL_WITHIN_MS)).await?;
        }
        for line in [&REBUILD[..], &["incarnations", "back", "--yes"]] {
            cluster.klatschctl(line).await?.success().with_context(|| line.join(" "))?;
        }
        Ok(Harmed::default())
    };
    let (mut world, mut report) = talk(&endpoints, config, harming).await?;
    let ends: u32 = world.devices.iter().map(|device| device.memory().journal.ends.values().sum::<u32>()).sum();
    ensure!(ends == 0, "{ends} connections ended: {:?}", world.troubles());
    judge_cluster(cluster, &mut world, &mut report).await?;
    Ok(report)
}

/// The same inside a running `klatsch` under load: the commands go through its socket.
///
/// # Errors
/// As [`rebuild_single`].
pub async fn rebuild_beside_single(single: &mut Single, config: LoadConfig, kills: usize) -> Result<Report> {
    // Devices that disconnect by themselves would hide that.
    let config = LoadConfig { unsteady: false, ..config };
    single.program.start().await?;
    let (endpoints, data) = (single.endpoints(), single.data().to_string_lossy().into_owned());
    let words =
        |words: &[&str]| -> Vec<String> { words.iter().copied().chain(["--data", &data]).map(str::to_owned).collect() };
    let mut random = Random::new(config.seed ^ 0x4eb1);
    let harming = async |_: &World| {
        for _ in 0..kills {
            killed(&words(&REBUILD), &[], random.below(KILL_WITHIN_MS)).await?;
        }
        for line in [&REBUILD[..], &["incarnations", "back", "--yes"]] {
            let arguments = words(line).iter().map(Into::into).collect();
            let ran = Ran::of(Setup { program: "klatschctl", arguments, ..Setup::default() }).await?;
            ran.success().with_context(|| line.join(" "))?;
        }
        Ok(Harmed::default())
    };
    let (mut world, mut report) = talk(&endpoints, config, harming).await?;
    let ends: u32 = world.devices.iter().map(|device| device.memory().journal.ends.values().sum::<u32>()).sum();
    ensure!(ends == 0, "{ends} connections ended: {:?}", world.troubles());
    let truth = truth_of_single(single, &report).await?;
    judge_single(single, &mut world, &truth, &mut report).await?;
    Ok(report)
}

/// The total in the output of `klatschctl checksum`.
fn total(printed: &str) -> Result<String> {
    let line = printed.lines().find(|line| line.contains("  total, at incarnation "));
    let total = line.and_then(|line| line.split_whitespace().next()).context("no total in the checksum")?;
    Ok(total.to_owned())
}
