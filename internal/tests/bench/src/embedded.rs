//! `klatsch`, everything in one process on the embedded engines: messages that are acknowledged a second, beside the
//! rows that its storage engine makes durable alone.

use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use testkit::engines::Engines;
use testkit::numbered;
use testkit::programs::{Ran, Setup};

use crate::contest::Contest;
use crate::folder::Folder;
use crate::report::Figures;
use crate::storage::printed;
use crate::talk::Talk;
use crate::wishes::Wishes;

/// The storage engine alone, without sockets.
const FJALL: &str = "fjall";
const KLATSCH: &str = "klatsch";
/// Messages a second while latency is measured, unless another rate is asked for.
const RATE: u64 = 200;
const SECONDS: u64 = 20;
/// Before the figures count, so that memory is filled and code is loaded.
const WARM_UP: Duration = Duration::from_secs(2);

/// Runs the rounds: first as many messages as go, then a steady rate.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "embedded", contestants: &[FJALL, KLATSCH], floor: Some(FJALL) };
    let round = async |contestant| match contestant {
        FJALL => fjall(wishes).await,
        _ => klatsch(wishes).await,
    };
    contest.run(wishes, round).await
}

async fn klatsch(wishes: &Wishes) -> Result<Figures> {
    let (mut folder, devices) = (Folder::new(wishes).await?, wishes.devices());
    ensure!(wishes.senders <= devices, "each sender needs a device of its own");
    let engines = Engines::embedded(&folder.single.data()).await?;
    numbered::register(&engines.store, devices).await?;
    engines.close().await;
    let tokens = folder.tokens(devices)?;
    folder.single.program.start().await?;
    let mut talk = Talk::pairs(folder.single.program.address(), &tokens).await?;
    talk.at_once(wishes.senders, WARM_UP).await?;
    let (time, cpu) = (wishes.time(SECONDS), folder.cpu()?);
    let period = talk.at_once(wishes.senders, time).await?;
    let cpu = folder.cpu()? - cpu;
    let messages = period.messages as f64;
    let mut figures = vec![
        ("acknowledged per second", messages / period.acked_in.as_secs_f64()),
        ("arrived per second", messages / period.took.as_secs_f64()),
        ("CPU us of each", cpu.as_secs_f64() * 1e6 / messages),
    ];
    figures.extend(talk.at_rate(wishes.rate.unwrap_or(RATE) as f64, time).await?.latencies());
    talk.end().await;
    folder.single.program.stop().await?;
    Ok(figures)
}

/// The floor is a process of its own, which prints its figures.
async fn fjall(wishes: &Wishes) -> Result<Figures> {
    let folder = TempDir::with_prefix("klatsch-bench-")?;
    let (rate, data) = (wishes.rate.unwrap_or(RATE), folder.path().join("db"));
    let mut arguments = vec!["rows".into(), data.into_os_string()];
    arguments
        .extend([wishes.senders as u64, wishes.time(SECONDS).as_secs(), rate].map(|number| number.to_string().into()));
    let ran = Ran::of(Setup { program: "bare", arguments, limits: wishes.cores.limits(), ..Setup::default() }).await?;
    let [per_second, cpu_us, p50, p99] = printed(&ran.success()?)?;
    Ok(vec![
        ("acknowledged per second", per_second),
        ("CPU us of each", cpu_us),
        ("ack p50 ms", p50),
        ("ack p99 ms", p99),
    ])
}
