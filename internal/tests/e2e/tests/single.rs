//! `klatsch`, one process on the embedded engines: under load, killed and restarted, and compared by the journal
//! oracle.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::load::LoadConfig;
use testkit::programs::{Program, Setup, Single};
use testkit::runs::{self, Harm};
use testkit::servers;

/// A load that a debug build on two cores completes in seconds.
fn small(seed: u64) -> LoadConfig {
    LoadConfig { users: 8, conversations: 16, members_max: 6, messages: 400, seed, ..LoadConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_reordered() -> Result<()> {
    let mut single = Single::new().await?;
    let config = LoadConfig { unsteady: false, ..small(1) };
    let report = runs::single(&mut single, config, Harm::default()).await?;
    println!("{report}");
    report.verdict.demand_zero()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_reordered_by_kills() -> Result<()> {
    let mut single = Single::new().await?;
    let report = runs::single(&mut single, small(2), Harm::kills(3)).await?;
    println!("{report}");
    report.verdict.demand_zero()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_and_too_few_descriptors_lose_double_and_reorder_nothing() -> Result<()> {
    let mut single = Single::new().await?;
    let report = runs::single(&mut single, small(5), Harm { faults: 1, ..Harm::default() }).await?;
    println!("{report}");
    report.verdict.demand_zero()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_set_forward_and_back_lose_double_and_reorder_nothing() -> Result<()> {
    if !servers::wanted() {
        return Ok(());
    }
    let mut single = Single::new().await?;
    single.program.own_clock()?;
    let report = runs::single(&mut single, small(6), Harm { clocks: 1, ..Harm::default() }).await?;
    println!("{report}");
    report.verdict.demand_zero()
}

/// A child that hangs before it is ready fails its start with words that say so, and does not keep the test.
#[tokio::test]
async fn a_program_that_hangs_before_it_is_ready_fails_its_start() -> Result<()> {
    let mut single = Single::new().await?;
    single.program.limit("exec sleep 600");
    single.program.answers_within(Duration::from_secs(1));
    let failed = single.program.start().await.err().context("it is ready")?.to_string();
    ensure!(failed.starts_with("klatsch hangs: it has not answered within 1s of its start"), "{failed}");
    single.program.kill().await
}

/// Issue 10, section 3: strangers, users that do not exist, and records of other producers in every topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_asked_for_loses_doubles_and_reorders_nothing() -> Result<()> {
    let mut single = Single::new().await?;
    let config = LoadConfig { hostile_percent: 20, ..small(8) };
    let report = runs::single(&mut single, config, Harm { foreign: 1, ..Harm::default() }).await?;
    println!("{report}");
    let (marked, acknowledged, heard) = report.marks;
    ensure!(marked > 0 && acknowledged > 0 && heard > 0, "there were no read marks");
    ensure!(report.strange > 0 && report.foreign.len() >= 8, "others wrote {:?}", report.foreign);
    for why in ["NotMember", "NoSuchUser"] {
        ensure!(report.refused.contains_key(why), "nobody was refused as {why}: {:?}", report.refused);
    }
    report.verdict.demand_zero()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_klatsch_on_the_same_folder_refuses_to_start() -> Result<()> {
    let mut single = Single::new().await?;
    single.program.start().await?;
    let mut second = Program::new(Setup { program: "klatsch", ..Setup::default() }).await?;
    second.add_arguments(["--data".into(), single.data().into_os_string()]);
    second.spawn()?;
    let status = second.ended().await?;
    ensure!(status.code() == Some(64), "it ended with {status}");
    let log = second.log_tail();
    ensure!(log.contains("is in use by another process"), "it says: {log}");
    single.program.stop().await.context("the first one goes on and stops in order")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stop_history_is_there_and_devices_go_on_by_their_cursors() -> Result<()> {
    let mut single = Single::new().await?;
    let config = LoadConfig { unsteady: false, messages: 200, ..small(3) };
    let devices = u32::try_from(config.users * config.devices)?;
    // The run itself stops the program once, starts it again, and compares everything afterwards.
    let report = runs::single(&mut single, config, Harm::default()).await?;
    report.verdict.demand_zero()?;
    let resets: Vec<_> = report.troubles.iter().filter(|(what, _)| what.starts_with("reset")).collect();
    ensure!(resets == [(&"reset: first".to_owned(), &devices)], "devices had to sync again: {resets:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_comes_to_the_same_rows_and_pushes_nothing() -> Result<()> {
    let mut single = Single::new().await?;
    let config = LoadConfig { unsteady: false, messages: 200, ..small(4) };
    runs::replay_single(&mut single, config).await?.verdict.demand_zero()
}

/// Issue 10, item 17: a rebuild is killed repeatedly, then the incarnations are switched and switched back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_is_killed_leaves_what_is_served_and_leads_there_and_back() -> Result<()> {
    let mut single = Single::new().await?;
    let config = LoadConfig { unsteady: false, messages: 200, ..small(7) };
    runs::rebuild_single(&mut single, config, 6).await?.verdict.demand_zero()
}
