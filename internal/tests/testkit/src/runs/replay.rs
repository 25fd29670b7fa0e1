//! Empties the store and replays the log: the rows must be the same, byte for byte, and no device may be sent
//! anything.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use events::topics::{DELIVERIES, spec_of};
use protocol::{CommandFrame, CommandKind};
use tempfile::TempDir;
use workload::Random;

use super::cluster::{judge_cluster, talk_on_cluster};
use super::single::{judge_single, talk_on_single, truth_of_single};
use super::{Harm, REACHED_WITHIN, Report};
use crate::device::{Room, Route};
use crate::engines::Engines;
use crate::load::{LoadConfig, World, mint};
use crate::oracle::{Logged, Truth, settled};
use crate::programs::{Cluster, Ran, Setup, Single};

/// The state before the replay.
struct Before {
    truth: Truth,
    /// Number of frames that each device had received.
    heard: Vec<usize>,
    /// The end offset of each partition of `chat.deliveries`.
    delivered: Vec<u64>,
}

/// Runs a load on `klatsch`, then replays its log twice: into a new incarnation, and over the existing rows.
///
/// # Errors
/// When a checksum differs, or a device is sent an old frame. Faults that the oracle finds are no error: the report
/// has them.
pub async fn replay_single(single: &mut Single, config: LoadConfig) -> Result<Report> {
    let (mut world, mut report) = talk_on_single(single, config, Harm::default()).await?;
    let truth = truth_of_single(single, &report).await?;
    all_there(&world, &truth).await?;
    single.program.stop().await?;
    let before = Before { truth, heard: heard(&world), delivered: delivered_in(single).await? };

    let folder = tempfile::tempdir()?;
    for step in STEPS {
        let mut arguments = step.arguments(&folder);
        arguments.extend(["--data".to_owned(), single.data().to_string_lossy().into_owned()]);
        let arguments = arguments.iter().map(Into::into).collect();
        let ran = Ran::of(Setup { program: "klatschctl", arguments, ..Setup::default() }).await?;
        step.take(ran, &folder)?;
    }
    let engines = Engines::embedded(&single.data()).await?;
    let checked = nothing_delivered(&engines, &before).await;
    engines.close().await;
    checked?;

    single.program.start().await?;
    say_something(&world).await?;
    let truth = truth_of_single(single, &report).await?;
    all_there(&world, &truth).await?;
    nothing_old(&world, &before, &truth)?;
    judge_single(single, &mut world, &truth, &mut report).await?;
    Ok(report)
}

/// The same on a cluster: its programs are stopped while the store is emptied, and run during the second replay.
///
/// # Errors
/// As [`replay_single`].
pub async fn replay_cluster(cluster: &mut Cluster, config: LoadConfig) -> Result<Report> {
    let (mut world, mut report) = talk_on_cluster(cluster, config, Harm::default()).await?;
    let engines = Engines::cluster(cluster).await?;
    let truth = Truth::of(&Logged::read(&*engines.log, &engines.codec).await?);
    all_there(&world, &truth).await?;
    let before = Before { truth, heard: heard(&world), delivered: delivered(&engines).await? };
    cluster.stop().await?;

    let folder = tempfile::tempdir()?;
    for step in STEPS {
        if step == Step::ReplayOver {
            cluster.start().await?;
        }
        let arguments = step.arguments(&folder);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        step.take(cluster.klatschctl(&arguments).await?, &folder)?;
    }
    let checked = nothing_delivered(&engines, &before).await;
    engines.close().await;
    checked?;

    say_something(&world).await?;
    let engines = Engines::cluster(cluster).await?;
    let truth = Truth::of(&Logged::read(&*engines.log, &engines.codec).await?);
    engines.close().await;
    all_there(&world, &truth).await?;
    nothing_old(&world, &before, &truth)?;
    judge_cluster(cluster, &mut world, &mut report).await?;
    Ok(report)
}

/// The uses of `klatschctl`, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Checksum,
    ReplayIntoNew,
    Compare,
    ReplayOver,
}

const STEPS: [Step; 5] = [Step::Checksum, Step::ReplayIntoNew, Step::Compare, Step::ReplayOver, Step::Compare];

impl Step {
    fn arguments(self, folder: &TempDir) -> Vec<String> {
        let file = sums(folder).to_string_lossy().into_owned();
        let words: &[&str] = match self {
            Self::Checksum => &["checksum", "--json"],
            Self::ReplayIntoNew => &["replay", "storage", "--from-start", "--into-new-incarnation", "--yes"],
            Self::Compare => &["checksum", "--compare", &file],
            Self::ReplayOver => &["replay", "storage", "--from-start", "--yes"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn take(self, ran: Ran, folder: &TempDir) -> Result<()> {
        let output = ran.success().with_context(|| format!("{self:?}"))?;
        if self == Self::Checksum {
            std::fs::write(sums(folder), output)?;
        }
        Ok(())
    }
}

fn sums(folder: &TempDir) -> std::path::PathBuf {
    Path::new(folder.path()).join("sums.json")
}

pub(super) async fn all_there(world: &World, truth: &Truth) -> Result<()> {
    world.until("at the end of the log", REACHED_WITHIN, |device| truth.reached(&device.memory())).await?;
    settled(&world.devices[0].http).await
}

fn heard(world: &World) -> Vec<usize> {
    world.devices.iter().map(|device| device.memory().journal.heard.len()).collect()
}

async fn delivered_in(single: &Single) -> Result<Vec<u64>> {
    let engines = Engines::embedded(&single.data()).await?;
    let delivered = delivered(&engines).await;
    engines.close().await;
    delivered
}

async fn delivered(engines: &Engines) -> Result<Vec<u64>> {
    let mut ends = Vec::new();
    for partition in 0..spec_of(DELIVERIES).partitions {
        ends.push(engines.log.watermarks(DELIVERIES, partition).await?.next);
    }
    Ok(ends)
}

/// Checks that no event was delivered since. (Read marks, and sign-ins of devices that come back meanwhile, are.)
async fn nothing_delivered(engines: &Engines, before: &Before) -> Result<()> {
    let ends = delivered(engines).await?;
    let mut events = Vec::new();
    for (partition, (from, end)) in (0u32..).zip(before.delivered.iter().zip(ends)) {
        let mut next = *from;
        let mut reader = engines.log.reader(DELIVERIES, partition, next).await?;
        while next < end {
            for record in reader.next(1000).await? {
                next = record.offset + 1;
                let delivery = engines.codec.read_delivery(&record.headers, &record.payload)?;
                events.extend(delivery.and_then(|delivery| Some((record.offset, delivery.event_key?))));
            }
        }
    }
    ensure!(events.is_empty(), "the replay delivered {} events, such as {:?}", events.len(), events.first());
    Ok(())
}

/// Sends a message in every conversation that has a member to send it, once every device is back.
async fn say_something(world: &World) -> Result<()> {
    world.until("all devices are back", REACHED_WITHIN, |device| device.memory().live).await?;
    let mut random = Random::new(world.config.seed ^ 0x5a1d);
    for room in &world.rooms {
        let member = |room: &crate::load::LoadRoom| {
            let devices = world.devices.iter();
            devices.into_iter().find(|device| device.memory().kept.rooms.get(&room.id).is_some_and(Room::is_member))
        };
        let Some(device) = member(room) else { continue };
        let id = mint(&mut random, false);
        let command = CommandFrame::new(id, room.id, CommandKind::send(format!("after {id}").into(), None));
        device.send(command, Route::Socket, None).map_err(anyhow::Error::msg)?;
    }
    world.resolve().await
}

/// Checks that devices received the frames that were sent since, and no others.
fn nothing_old(world: &World, before: &Before, after: &Truth) -> Result<()> {
    for (device, heard) in world.devices.iter().zip(&before.heard) {
        let memory = device.memory();
        let frames = |truth: &Truth| {
            let frames = truth.frames.get(&memory.user);
            frames.into_iter().flat_map(|frames| frames.values()).map(|frames| frames.len()).sum::<usize>()
        };
        let (new, came) = (frames(after) - frames(&before.truth), memory.journal.heard.len() - heard);
        ensure!(new == came, "{} heard {came} frames where {new} were said", device.name);
    }
    Ok(())
}
