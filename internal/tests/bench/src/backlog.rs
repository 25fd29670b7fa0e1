//! A backlog: a websocket service was stopped while a million frames came, and sends them as fast as it can.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use eventlog::SharedLog;
use eventlog_kafka::{KafkaConfig, KafkaLog};
use testkit::numbered::{self, Cluster, Seen, Users};
use testkit::programs::Program;
use tokio::time::{Instant, sleep};

use crate::processes::{FIRST_CORE, cpu_of, leave_first_core, machine};
use crate::report::Report;
use crate::wishes::Wishes;

/// Frames over all devices, each for one device.
const FRAMES: u64 = 1_000_000;
/// The run is void when no frame has come for this long.
const QUIET: Duration = Duration::from_secs(30);
/// How long doubles are waited for after the last frame.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What serves the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    Bare,
    Klatsch,
}

impl Contestant {
    pub(crate) const ALL: [Self; 2] = [Self::Bare, Self::Klatsch];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Klatsch => "websocket-service",
        }
    }

    /// The bearer tokens of the devices: the bare loop checks none, and takes the user's id.
    pub(crate) fn tokens(self, users: &Users, devices: usize) -> Result<Vec<String>> {
        match self {
            Self::Bare => Ok((0..devices).map(|index| numbered::user(index).to_string()).collect()),
            Self::Klatsch => users.tokens(devices),
        }
    }
}

/// A cluster for several rounds.
pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    pub(crate) users: Users,
    pub(crate) log: SharedLog,
    _folder: tempfile::TempDir,
}

impl Ground {
    pub(crate) async fn new() -> Result<Self> {
        println!("{}", machine());
        process::descriptors::raise()?;
        leave_first_core()?;
        let folder = tempfile::tempdir()?;
        let jwks = folder.path().join("jwks.json");
        let users = Users::new(&jwks)?;
        let cluster = Cluster::start(&jwks).await?;
        let config = KafkaConfig { dev: true, ..KafkaConfig::new(cluster.kafka.bootstrap(), "bench") };
        let log = KafkaLog::connect(config).await?;
        Ok(Self { cluster, users, log, _folder: folder })
    }

    pub(crate) async fn node(&self, contestant: Contestant) -> Result<Program> {
        self.cluster.program(contestant.name(), FIRST_CORE).await
    }
}

/// Runs the rounds, the contestants in turns, and prints frames per CPU second of the contestant's process.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let (ground, mut report, mut speed) = (Ground::new().await?, Report::default(), Report::default());
    for _ in 0..wishes.rounds {
        for contestant in Contestant::ALL.into_iter().filter(|contestant| wishes.wants(contestant.name())) {
            let (cpu, took) = round(&ground, contestant, wishes.devices).await?;
            let frames = (FRAMES / wishes.devices as u64 * wishes.devices as u64) as f64;
            report.add(contestant.name(), frames / cpu.as_secs_f64());
            speed.add(contestant.name(), frames / took.as_secs_f64());
        }
    }
    println!("backlog of {FRAMES}, {} sockets, {} rounds", wishes.devices, wishes.rounds);
    report.print("frames per CPU second", Contestant::Bare.name());
    speed.print("frames per second", Contestant::Bare.name());
    Ok(())
}

async fn round(ground: &Ground, contestant: Contestant, devices: usize) -> Result<(Duration, Duration)> {
    let mut node = ground.node(contestant).await?;
    let (seen, each) = (Arc::new(Seen::default()), FRAMES / devices as u64);
    let tokens = contestant.tokens(&ground.users, devices)?;
    let mut reading = numbered::connect(node.address(), tokens, each, &seen).await?;
    node.pause()?;
    numbered::append(&ground.log, devices, 1..=each).await?;
    let pid = node.pid().unwrap_or_default();
    let (begun, cpu) = (Instant::now(), cpu_of(pid)?);
    node.resume()?;
    complete(&seen, devices).await?;
    let (took, cpu) = (begun.elapsed(), cpu_of(pid)? - cpu);
    println!("{:<20}{:>8.2} s of CPU in {:.2} s", contestant.name(), cpu.as_secs_f64(), took.as_secs_f64());
    nothing_else(&seen).await?;
    reading.shutdown().await;
    node.kill().await?;
    Ok((cpu, took))
}

/// Waits until every device has its last frame.
///
/// # Errors
/// When frames stop coming before: such a run is void.
pub(crate) async fn complete(seen: &Seen, devices: usize) -> Result<()> {
    let (mut last, mut since) = (0, Instant::now());
    while seen.complete.load(Ordering::Relaxed) < devices as u64 {
        let frames = seen.frames.load(Ordering::Relaxed);
        if frames != last {
            (last, since) = (frames, Instant::now());
        }
        ensure!(since.elapsed() < QUIET, "void: only {frames} frames came");
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Waits for what should not come any more.
///
/// # Errors
/// When anything was lost, doubled or closed: such a run is void.
pub(crate) async fn nothing_else(seen: &Seen) -> Result<()> {
    sleep(AFTERWARDS).await;
    ensure!(seen.faults() == [0; 4], "void: {seen:?}");
    Ok(())
}
