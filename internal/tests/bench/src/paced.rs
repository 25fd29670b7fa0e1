//! A steady rate of frames, as on a usual day.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bench::processes::cpu_of;
use testkit::numbered::{self, Appender, Seen};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::backlog::{complete, nothing_else};
use crate::contest::Contest;
use crate::ground::{BARE, Ground, SOCKETS};
use crate::report::Figures;
use crate::wishes::Wishes;

/// A run whose last frame comes later than this is void.
const LATE_MAX: Duration = Duration::from_millis(500);
/// How often frames are appended.
const TICK: Duration = Duration::from_millis(1);

/// Frames a second, unless another rate is asked for.
const RATE: u64 = 20_000;
const SECONDS: u64 = 20;

/// Runs the rounds: frames per second of the contestant's CPU time.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "paced", contestants: &[BARE, SOCKETS], floor: Some(BARE) };
    let ground = Ground::new(wishes).await?;
    contest.run(wishes, async |contestant| round(&ground, contestant, wishes).await).await
}

async fn round(ground: &Ground, contestant: &'static str, wishes: &Wishes) -> Result<Figures> {
    let mut node = ground.node(contestant).await?;
    let (devices, rate, time) = (wishes.devices(), wishes.rate.unwrap_or(RATE), wishes.time(SECONDS));
    let (seen, each) = (Arc::new(Seen::default()), (rate * time.as_secs() / devices as u64).max(1));
    let tokens = ground.tokens(contestant, devices)?;
    let mut reading = numbered::connect(node.address(), tokens, each, &seen).await?;
    let pid = node.pid().unwrap_or_default();
    let (begun, cpu) = (Instant::now(), cpu_of(pid)?);
    append(ground, begun, each * devices as u64, (devices as u64, rate)).await?;
    complete(&seen, devices).await?;
    let (took, cpu) = (begun.elapsed(), cpu_of(pid)? - cpu);
    nothing_else(&seen).await?;
    let late = took.saturating_sub(time);
    ensure!(late < LATE_MAX, "void: the last frame came {:.2} s late, so the rate was not kept", late.as_secs_f64());
    reading.shutdown().await;
    node.kill().await?;
    Ok(vec![("frames per CPU second", (each * devices as u64) as f64 / cpu.as_secs_f64())])
}

/// Appends the frames at their times, one device after the other. What is late is appended at once.
async fn append(ground: &Ground, begun: Instant, frames: u64, (devices, rate): (u64, u64)) -> Result<()> {
    let (mut appender, mut ticks, mut next) = (Appender::new(&ground.log), interval(TICK), 0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while next < frames {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        while next < due.min(frames) {
            let device = usize::try_from(next % devices)?;
            appender.append(device, next / devices + 1).await?;
            next += 1;
        }
    }
    appender.finish().await
}
