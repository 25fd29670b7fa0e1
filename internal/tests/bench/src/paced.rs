//! A steady rate of frames, as on a usual day.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::numbered::{self, Appender, Seen};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::backlog::{Contestant, Ground, complete, nothing_else};
use crate::processes::cpu_of;
use crate::report::Report;
use crate::wishes::Wishes;

/// A run whose last frame comes later than this is void.
const LATE_MAX: Duration = Duration::from_millis(500);
/// How often frames are appended.
const TICK: Duration = Duration::from_millis(1);

/// Runs the rounds, the contestants in turns, and prints frames per CPU second of the contestant's process.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let (ground, mut report) = (Ground::new().await?, Report::default());
    for _ in 0..wishes.rounds {
        for contestant in Contestant::ALL.into_iter().filter(|contestant| wishes.wants(contestant.name())) {
            report.add(contestant.name(), round(&ground, contestant, wishes).await?);
        }
    }
    println!(
        "{} frames a second, {} sockets, {} s, {} rounds",
        wishes.rate, wishes.devices, wishes.seconds, wishes.rounds
    );
    report.print("frames per CPU second", Contestant::Bare.name());
    Ok(())
}

async fn round(ground: &Ground, contestant: Contestant, wishes: &Wishes) -> Result<f64> {
    let mut node = ground.node(contestant).await?;
    let devices = wishes.devices as u64;
    let (seen, each) = (Arc::new(Seen::default()), (wishes.rate * wishes.seconds / devices).max(1));
    let tokens = contestant.tokens(&ground.users, wishes.devices)?;
    let mut reading = numbered::connect(node.address(), tokens, each, &seen).await?;
    let pid = node.pid().unwrap_or_default();
    let (begun, cpu) = (Instant::now(), cpu_of(pid)?);
    append(ground, begun, each * devices, wishes).await?;
    complete(&seen, wishes.devices).await?;
    let (took, cpu) = (begun.elapsed(), cpu_of(pid)? - cpu);
    println!("{:<20}{:>8.2} s of CPU in {:.2} s", contestant.name(), cpu.as_secs_f64(), took.as_secs_f64());
    nothing_else(&seen).await?;
    let late = took.saturating_sub(Duration::from_secs(wishes.seconds));
    ensure!(late < LATE_MAX, "void: the last frame came {:.2} s late, so the rate was not kept", late.as_secs_f64());
    reading.shutdown().await;
    node.kill().await?;
    Ok((each * devices) as f64 / cpu.as_secs_f64())
}

/// Appends the frames at their times, one device after the other. What is late is appended at once.
async fn append(ground: &Ground, begun: Instant, frames: u64, wishes: &Wishes) -> Result<()> {
    let (mut appender, mut ticks, mut next) = (Appender::new(&ground.log), interval(TICK), 0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while next < frames {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() * wishes.rate as f64) as u64;
        while next < due.min(frames) {
            let device = usize::try_from(next % wishes.devices as u64)?;
            appender.append(device, next / wishes.devices as u64 + 1).await?;
            next += 1;
        }
    }
    appender.finish().await
}
