//! `klatschctl` on the data folder of a running `klatsch`, which executes the commands (issue 10, item 16).

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process};
use testkit::load::LoadConfig;
use testkit::programs::{Ran, Setup, Single, executable};
use testkit::runs::{self, Harm};
use tokio::time::{Instant, sleep, timeout};

/// The exit code of a command that was told to stop and given up.
const STOPPED: i32 = 130;
/// How long a command may take to show the first record, and consumers to come to the end of the log.
const SHOWN_WITHIN: Duration = Duration::from_secs(120);
/// Number of lines that the doctor prints.
const FINDINGS: usize = 8;

fn small(seed: u64) -> LoadConfig {
    LoadConfig {
        users: 8,
        conversations: 16,
        members_max: 6,
        messages: 200,
        seed,
        unsteady: false,
        ..LoadConfig::default()
    }
}

async fn klatschctl(data: &Path, words: &str) -> Result<Ran> {
    let arguments = words.split(' ').map(Into::into).chain(["--data".into(), data.into()]).collect();
    Ran::of(Setup { program: "klatschctl", arguments, ..Setup::default() }).await
}

/// Waits until every line of the doctor says `ok`.
async fn healthy(data: &Path) -> Result<()> {
    let deadline = Instant::now() + SHOWN_WITHIN;
    loop {
        let said = klatschctl(data, "doctor").await?.success()?;
        ensure!(said.lines().count() == FINDINGS, "{said}");
        if said.lines().all(|line| line.starts_with("ok  ")) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not healthy within {SHOWN_WITHIN:?}: {said}");
    }
}

/// Waits until the pipe takes no more: half of it is used, and no more a while later.
async fn full(pipe: &ChildStdout) -> Result<()> {
    let mut before = 0;
    loop {
        let now = ioctl_fionread(pipe)?;
        if now == before && now > 32 * 1024 {
            return Ok(());
        }
        before = now;
        sleep(Duration::from_millis(500)).await;
    }
}

/// A `klatschctl tail --follow` that has shown at least one record.
async fn following(data: &Path) -> Result<Child> {
    let mut command = Command::new(executable("klatschctl").await?);
    command.args(["tail", "chat.messages", "--from", "start", "--follow", "--data"]).arg(data);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let reading = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        output.read_line(&mut line).map(|_| (line, output.into_inner()))
    });
    let Ok(read) = timeout(SHOWN_WITHIN, reading).await else {
        // Its end also ends the read.
        child.kill()?;
        child.wait()?;
        bail!("klatschctl tail has shown no record within {SHOWN_WITHIN:?}");
    };
    let (line, output) = read??;
    child.stdout = Some(output);
    ensure!(line.starts_with("{\"partition\""), "{line}");
    Ok(child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_beside_it_what_they_see_alone() -> Result<()> {
    let mut single = Single::new().await?;
    let (mut world, _) = runs::talk_on_single(&mut single, small(11), Harm::default()).await?;
    let data = single.data();
    world.stop().await;
    healthy(&data).await?;
    let mode = fs::metadata(data.join("operators.sock"))?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "others may use the socket: {mode:o}");

    let lines = [
        "checksum --json",
        "holds list",
        "holds dropped",
        "topics check",
        "incarnations list",
        "audit --rate 0",
        "replay storage --from-start",
        "tail chat.messages --from -2",
    ];
    let mut beside = Vec::new();
    for line in lines {
        beside.push(klatschctl(&data, line).await?);
    }
    // Storage commits now and then, and once more when it stops, so its positions may differ between the two runs.
    let groups = klatschctl(&data, "groups list").await?.success()?;
    ensure!(groups.contains("klatsch.fanout chat.messages/0: at ") && groups.contains("klatsch.storage "), "{groups}");
    let set = klatschctl(&data, "groups set chat.messages 0 0 --yes").await?;
    ensure!(set.status.code() == Some(70) && set.errors.contains("stop the fan-out first"), "{set:?}");

    // A client that is killed, and one that is asked to stop.
    let mut killed = following(&data).await?;
    killed.kill()?;
    killed.wait()?;
    let mut stopped = following(&data).await?;
    let mut output = stopped.stdout.take().context("no output")?;
    let reading = std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
    kill_process(Pid::from_child(&stopped), Signal::INT)?;
    ensure!(stopped.wait()?.success(), "a tail that is told to stop has done what it should");
    reading.join().map_err(|_| anyhow!("the reader panicked"))??;
    // One that waits for a reader, such as a pager, ends too.
    let mut unread = following(&data).await?;
    full(unread.stdout.as_ref().context("no output")?).await?;
    kill_process(Pid::from_child(&unread), Signal::INT)?;
    ensure!(unread.wait()?.code() == Some(STOPPED), "it was given up");

    single.program.stop().await?;
    ensure!(!data.join("operators.sock").exists(), "the socket stays behind");
    for (line, beside) in lines.into_iter().zip(beside) {
        let alone = klatschctl(&data, line).await?;
        ensure!(beside.status == alone.status, "{line}: {beside:?}, alone {alone:?}");
        ensure!(beside.output == alone.output, "{line}: {}\nalone {}", beside.output, alone.output);
        ensure!(beside.errors == alone.errors, "{line}: {}\nalone {}", beside.errors, alone.errors);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_a_killed_klatsch_left_is_in_nobodys_way() -> Result<()> {
    let mut single = Single::new().await?;
    single.program.start().await?;
    let data = single.data();
    single.program.kill().await?;
    ensure!(data.join("operators.sock").exists(), "a killed program removes nothing");
    klatschctl(&data, "incarnations list").await?.success().context("alone")?;
    single.program.start().await?;
    klatschctl(&data, "incarnations list").await?.success().context("beside the next")?;
    // A command that is still running does not keep the program from stopping in order.
    let mut following = following(&data).await?;
    single.program.stop().await?;
    ensure!(following.wait()?.success(), "a command inside a klatsch that stops ends in order");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_beside_it_under_load_ends_no_socket_and_loses_nothing() -> Result<()> {
    let mut single = Single::new().await?;
    // Few users: they talk until the rebuild is complete, and compete with it for the processor.
    let config = LoadConfig { users: 3, conversations: 3, members_max: 3, messages: 60, ..small(12) };
    let report = runs::rebuild_beside_single(&mut single, config, 2).await?;
    println!("{report}");
    report.verdict.demand_zero()
}
