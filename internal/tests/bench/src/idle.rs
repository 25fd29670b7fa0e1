//! Idle sockets: the memory of each after one message, and the CPU time of all of them while nothing is sent but pings.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bench::processes::{cpu_of, memory_of};
use testkit::numbered::{self, Seen};
use tokio::time::sleep;

use crate::backlog::{complete, nothing_else};
use crate::contest::Contest;
use crate::ground::{BARE, Ground, SOCKETS};
use crate::report::Figures;
use crate::wishes::Wishes;

/// How long the sockets are idle, unless another time is asked for: two intervals of the service's pings.
const SECONDS: u64 = 60;
/// Sockets, unless another number is asked for.
const DEVICES: usize = 10_000;
/// Sockets that are opened and closed before, so that what the first ones cost is not counted.
const WARM_UP_DEVICES: usize = 10;

/// Runs the rounds.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "idle", contestants: &[BARE, SOCKETS], floor: Some(BARE) };
    let ground = Ground::new(wishes).await?;
    contest.run(wishes, async |contestant| round(&ground, contestant, wishes).await).await
}

async fn round(ground: &Ground, contestant: &'static str, wishes: &Wishes) -> Result<Figures> {
    let devices = wishes.devices.unwrap_or(DEVICES);
    let mut node = ground.node(contestant).await?;
    let (pid, tokens) = (node.pid().context("it runs")?, ground.tokens(contestant, devices)?);
    let (first, warm) = (Arc::new(Seen::default()), tokens.iter().take(WARM_UP_DEVICES).cloned().collect());
    let mut warm_up = numbered::connect(node.address(), warm, 1, &first).await?;
    numbered::append(&ground.log, WARM_UP_DEVICES.min(devices), 1..=1).await?;
    complete(&first, WARM_UP_DEVICES.min(devices)).await?;
    warm_up.shutdown().await;
    let (before, seen) = (memory_of(pid)?, Arc::new(Seen::default()));
    let mut reading = numbered::connect(node.address(), tokens, 1, &seen).await?;
    numbered::append(&ground.log, devices, 1..=1).await?;
    complete(&seen, devices).await?;
    nothing_else(&seen).await?;
    let each = memory_of(pid)?.saturating_sub(before) as f64 / devices as f64;
    let (time, cpu) = (wishes.time(SECONDS), cpu_of(pid)?);
    sleep(time).await;
    let cpu = cpu_of(pid)? - cpu;
    nothing_else(&seen).await?;
    reading.shutdown().await;
    node.kill().await?;
    let percent = cpu.as_secs_f64() / time.as_secs_f64() * 100.0;
    Ok(vec![("KB of memory of each socket", each / 1_000.0), ("percent of a core, idle", percent)])
}
