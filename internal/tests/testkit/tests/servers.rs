//! The life cycle of each real server: it starts, answers, comes back on the same ports, freezes, dies, and leaves
//! no process behind.
//!
//! These tests start servers of their own even where the environment names some, because they stop and kill them.

#![allow(clippy::unwrap_used)]

use std::ops::DerefMut;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::servers::{self, Cassandra, Kafka, Registry, Server, probe};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Generous: two busy cores may be compiling meanwhile.
const GONE_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn kafka_speaks_restarts_and_leaves_nothing() -> Result<()> {
    if !servers::wanted() {
        return Ok(());
    }
    let mut kafka = Kafka::start().await?;
    let address = kafka.bootstrap().to_owned();
    ensure!(probe::kafka(&address).await? > 20, "a broker has dozens of APIs");
    live_and_die(&mut kafka, async || probe::kafka(&address).await.map(drop)).await?;
    let folder = kafka.folder().to_owned();
    drop(kafka);
    assert_gone(&folder)
}

#[tokio::test]
async fn cassandra_speaks_restarts_and_leaves_nothing() -> Result<()> {
    if !servers::wanted() {
        return Ok(());
    }
    let mut cassandra = Cassandra::start().await?;
    let address = cassandra.address().to_owned();
    ensure!(probe::cql(&address).await?.iter().any(|option| option == "CQL_VERSION"));
    live_and_die(&mut cassandra, async || probe::cql(&address).await.map(drop)).await?;
    let folder = cassandra.folder().to_owned();
    drop(cassandra);
    assert_gone(&folder)
}

#[tokio::test]
async fn the_registry_speaks_restarts_and_leaves_nothing() -> Result<()> {
    if !servers::wanted() {
        return Ok(());
    }
    let mut registry = Registry::start().await?;
    let url = registry.url().to_owned();
    assert_eq!(probe::registry(&url).await?, Vec::<String>::new(), "a new registry is empty");
    live_and_die(&mut registry, async || probe::registry(&url).await.map(drop)).await?;
    let folder = registry.folder().to_owned();
    drop(registry);
    assert_gone(&folder)
}

/// Pauses, kills, restarts and stops the server, and checks each time whether it answers.
async fn live_and_die(server: &mut impl DerefMut<Target = Server>, ask: impl AsyncFn() -> Result<()>) -> Result<()> {
    let first = server.pid().unwrap();
    server.pause()?;
    ensure!(ask().await.is_err(), "a frozen server answers");
    server.resume()?;
    ask().await?;

    server.kill().await?;
    ensure!(!is_alive(first), "process {first} is still there after its kill");
    ensure!(ask().await.is_err(), "a killed server answers");
    server.restart().await?;
    ask().await?;

    let second = server.pid().unwrap();
    server.stop().await?;
    ensure!(!is_alive(second), "process {second} is still there after its stop");
    ensure!(ask().await.is_err(), "a stopped server answers");
    ensure!(server.pid().is_none());
    Ok(())
}

/// A running server that is dropped ends: no test needs to stop it explicitly.
#[tokio::test]
async fn a_dropped_server_is_gone() -> Result<()> {
    if !servers::wanted() {
        return Ok(());
    }
    let kafka = Kafka::start().await?;
    let (pid, folder) = (kafka.pid().unwrap(), kafka.folder().to_owned());
    ensure!(is_alive(pid));
    drop(kafka);
    ensure!(!is_alive(pid));
    assert_gone(&folder)
}

/// The program that holds a server is killed, as a test process might be, so that none of its own code runs any
/// more.
#[tokio::test]
async fn a_killed_test_process_takes_its_servers_along() -> Result<()> {
    if !servers::wanted() {
        return Ok(());
    }
    let mut holder = tokio::process::Command::new(env!("CARGO_BIN_EXE_servers"))
        .args(["up", "kafka"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await?.unwrap();
        if let Some(address) = line.strip_prefix(servers::GIVEN_KAFKA).and_then(|rest| rest.strip_prefix('=')) {
            break address.to_owned();
        }
    };
    probe::kafka(&address).await?;
    let (jvm, folder) = jvm_of(&address)?;
    holder.kill().await?;
    tokio::time::timeout(GONE_WITHIN, async {
        while is_alive(jvm) || Path::new(&folder).exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await?;
    ensure!(probe::kafka(&address).await.is_err());
    Ok(())
}

/// The process id of the JVM whose settings name `address`, and its data folder.
fn jvm_of(address: &str) -> Result<(u32, String)> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(folder) = std::fs::read_link(entry.path().join("cwd")) else { continue };
        let settings = std::fs::read_to_string(folder.join("server.properties")).unwrap_or_default();
        let is_java = std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim() == "java");
        if is_java && settings.contains(address) {
            return Ok((pid, folder.to_string_lossy().into_owned()));
        }
    }
    anyhow::bail!("no process serves {address}")
}

/// Checks that the folder is gone, and that no process works in it: neither the server nor its guard.
fn assert_gone(folder: &Path) -> Result<()> {
    ensure!(!folder.exists(), "{} was left behind", folder.display());
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let name = folder.to_string_lossy();
        let left = cwd.to_string_lossy().contains(&*name) || arguments.contains(&*name);
        ensure!(!left, "process {} was left behind: {arguments}", entry.file_name().display());
    }
    Ok(())
}

/// A zombie counts as gone: reaping an orphan is up to the machine's first process.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
