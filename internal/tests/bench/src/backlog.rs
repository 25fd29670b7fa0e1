//! A backlog: a websocket service was stopped while a million frames came, and sends them as fast as it can.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use bench::processes::cpu_of;
use testkit::numbered::{self, Seen};
use tokio::time::{Instant, sleep};

use crate::contest::Contest;
use crate::ground::{BARE, Ground, SOCKETS};
use crate::report::Figures;
use crate::wishes::Wishes;

/// Frames over all devices, each for one device.
const FRAMES: u64 = 1_000_000;
/// The run is void when no frame has come for this long.
const QUIET: Duration = Duration::from_secs(30);
/// How long doubles are waited for after the last frame.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs the rounds: frames per second of the contestant's CPU time, and of time.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "backlog", contestants: &[BARE, SOCKETS], floor: Some(BARE) };
    let ground = Ground::new(wishes).await?;
    contest.run(wishes, async |contestant| round(&ground, contestant, wishes.devices()).await).await
}

async fn round(ground: &Ground, contestant: &'static str, devices: usize) -> Result<Figures> {
    let mut node = ground.node(contestant).await?;
    let (seen, each) = (Arc::new(Seen::default()), FRAMES / devices as u64);
    let tokens = ground.tokens(contestant, devices)?;
    let mut reading = numbered::connect(node.address(), tokens, each, &seen).await?;
    node.pause()?;
    numbered::append(&ground.log, devices, 1..=each).await?;
    let pid = node.pid().unwrap_or_default();
    let (begun, cpu) = (Instant::now(), cpu_of(pid)?);
    node.resume()?;
    complete(&seen, devices).await?;
    let (took, cpu) = (begun.elapsed(), cpu_of(pid)? - cpu);
    nothing_else(&seen).await?;
    reading.shutdown().await;
    node.kill().await?;
    let frames = (each * devices as u64) as f64;
    Ok(vec![("frames per CPU second", frames / cpu.as_secs_f64()), ("frames per second", frames / took.as_secs_f64())])
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
