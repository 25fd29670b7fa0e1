//! Building rows anew beside the served ones, killed at random moments, then switched and switched back: what is served
//! is complete every time.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Context as _, Result, ensure};
use workload::Random;

use super::cluster::judge_cluster;
use super::replay::all_there;
use super::single::{judge_single, talk_on_single, truth_of_single};
use super::{Harm, Harmed, Report, talk, with_logs};
use crate::load::{LoadConfig, World};
use crate::programs::{Cluster, Ran, Setup, Single};

/// What builds, compares and switches.
const REBUILD: [&str; 5] = ["replay", "storage", "--from-start", "--into-new-incarnation", "--yes"];
/// The longest time before a kill, in milliseconds. The later ones find the rebuild further on, or done.
const KILL_WITHIN_MS: u64 = 400;
/// Kills the program that comes after it: the shell becomes it, and keeps its number.
const KILLED: &str = "(sleep $KLATSCH_TEST_KILL_AFTER; kill -9 $$) &";
/// How a killed program ends.
const SIGKILL: i32 = 9;

/// Runs `klatschctl` and kills it after so many milliseconds; says whether it was killed before it was done.
async fn killed(arguments: &[String], environment: &[(&'static str, String)], after_ms: u64) -> Result<bool> {
    let mut environment = environment.to_vec();
    environment.push(("KLATSCH_TEST_KILL_AFTER", format!("0.{after_ms:03}")));
    let arguments = arguments.iter().map(Into::into).collect();
    let ran = Ran::of(Setup { program: "klatschctl", arguments, environment, limits: KILLED }).await?;
    if ran.status.signal() == Some(SIGKILL) {
        return Ok(true);
    }
    ran.success().map(|_| false)
}

/// A load on `klatsch`, which is stopped; then its rows are built anew, killed `kills` times. After each kill the served
/// rows are those of before; at the end they are the same at the new incarnation, and after the way back.
///
/// # Errors
/// When a checksum differs or a command fails. What the oracle finds at the end stands in the report.
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

/// The same on a cluster, with its programs running and a load on them all the while; then a switch and a way back, with
/// the load still on. No connection of a device may end.
///
/// # Errors
/// As [`rebuild_single`].
pub async fn rebuild_cluster(cluster: &mut Cluster, config: LoadConfig, kills: usize) -> Result<Report> {
    let outcome = rebuilt_under_load(cluster, config, kills).await;
    outcome.map_err(|cause| with_logs(&cause, &cluster.logs()))
}

async fn rebuilt_under_load(cluster: &mut Cluster, config: LoadConfig, kills: usize) -> Result<Report> {
    // Connections of devices that come and go would end, too.
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

/// The same inside a `klatsch` that runs, with a load on it all the while: the commands come through its socket.
///
/// # Errors
/// As [`rebuild_single`].
pub async fn rebuild_beside_single(single: &mut Single, config: LoadConfig, kills: usize) -> Result<Report> {
    // Connections of devices that come and go would end, too.
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

/// The total of what `klatschctl checksum` prints.
fn total(printed: &str) -> Result<String> {
    let line = printed.lines().find(|line| line.contains("  total, at incarnation "));
    let total = line.and_then(|line| line.split_whitespace().next()).context("no total in the checksum")?;
    Ok(total.to_owned())
}
