//! A websocket node that was stopped and, when it goes on, has a million frames to send to its sockets: on a real
//! Kafka, to devices that read as fast as they can.
//!
//! No device may be closed, reset or miss a frame, however far behind the node is: the frames of a device are
//! numbered, and each must arrive once and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use tokio::time::{Instant, sleep};

use super::Wishes;
use crate::numbered::{Cluster, Seen, Users, append, connect};

/// Number of devices, unless `--count` is given.
const DEVICES: usize = 1_000;
/// Frames in the backlog, over all devices: each frame is for one device.
const BACKLOG: u64 = 1_000_000;
/// Frames that are appended behind the backlog while the node sends it.
const BEHIND: u64 = 50_000;
/// The devices are considered done when no frame has come for this long.
const QUIET: Duration = Duration::from_secs(90);
/// The longest that the whole attack may take.
const WITHIN: Duration = Duration::from_secs(1800);

pub(super) async fn run(wishes: Wishes) -> Result<bool> {
    ensure!(wishes.url.is_none(), "the backlog needs a Kafka of its own");
    let devices = wishes.count.unwrap_or(DEVICES);
    let folder = tempfile::tempdir()?;
    let jwks = folder.path().join("jwks.json");
    let users = Users::new(&jwks)?;
    let cluster = Cluster::start(&jwks).await?;
    let mut node = cluster.program("websocket-service", &[], "").await?;
    let kafka = &cluster.kafka;
    let log = KafkaLog::connect(KafkaConfig { dev: true, ..KafkaConfig::new(kafka.bootstrap(), "backlog") }).await?;
    let (seen, each) = (Arc::new(Seen::default()), (BACKLOG + BEHIND) / devices as u64);
    let mut reading = connect(node.address(), users.tokens(devices)?, each, &seen).await?;
    println!("{devices} devices are welcomed");

    node.pause()?;
    let begun = Instant::now();
    append(&log, devices, 1..=BACKLOG / devices as u64).await?;
    println!("stopped for {:.1} s, in which {BACKLOG} frames came", begun.elapsed().as_secs_f64());
    node.resume()?;
    let begun = Instant::now();
    append(&log, devices, BACKLOG / devices as u64 + 1..=each).await?;
    let (mut last, mut since) = (0, Instant::now());
    while seen.complete.load(Ordering::Relaxed) < devices as u64 && begun.elapsed() < WITHIN && since.elapsed() < QUIET
    {
        sleep(Duration::from_secs(1)).await;
        let frames = seen.frames.load(Ordering::Relaxed);
        if frames != last {
            (last, since) = (frames, Instant::now());
        }
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (frames, took) = (count(&seen.frames), begun.elapsed().as_secs_f64());
    println!("{frames} of {} frames in {took:.1} s ({:.0}/s)", each * devices as u64, frames as f64 / took);
    let incomplete = devices as u64 - count(&seen.complete);
    let (closes, resets) = (count(&seen.closes), count(&seen.resets));
    let (gaps, doubles) = (count(&seen.gaps), count(&seen.doubles));
    println!("closes: {closes}, resets: {resets}, gaps: {gaps}, doubles: {doubles}, incomplete devices: {incomplete}");
    reading.abort_all();
    log.close().await;
    node.kill().await?;
    Ok([closes, resets, gaps, doubles, incomplete] == [0; 5])
}
