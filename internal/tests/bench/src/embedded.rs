//! `klatsch`, everything in one process on the embedded engines: messages that are acknowledged a second, beside the
//! rows that its storage engine makes durable alone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bench::processes::cpu_of;
use tempfile::TempDir;
use testkit::engines::Engines;
use testkit::numbered::{self, Users};
use testkit::programs::{Ran, Setup, Single};

use crate::contest::Contest;
use crate::report::Figures;
use crate::storage::printed;
use crate::talk::Talk;
use crate::wishes::Wishes;

/// The storage engine alone, without sockets.
const FJALL: &str = "fjall";
const KLATSCH: &str = "klatsch";
/// Messages a second while latency is measured, unless another rate is asked for.
const RATE: u64 = 200;
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
    let (mut single, tokens) = prepared(wishes.devices).await?;
    single.program.limit(wishes.cores.limits());
    single.program.start().await?;
    let mut talk = Talk::begin(single.program.address(), &tokens, 2).await?;
    talk.at_once(wishes.senders, WARM_UP).await?;
    let pid = single.program.pid().context("klatsch runs")?;
    let (time, cpu) = (Duration::from_secs(wishes.seconds), cpu_of(pid)?);
    let period = talk.at_once(wishes.senders, time).await?;
    let cpu = cpu_of(pid)? - cpu;
    let messages = period.messages as f64;
    let mut figures = vec![
        ("acknowledged per second", messages / period.acked_in.as_secs_f64()),
        ("arrived per second", messages / period.took.as_secs_f64()),
        ("CPU us of each", cpu.as_secs_f64() * 1e6 / messages),
    ];
    figures.extend(talk.at_rate(wishes.rate.unwrap_or(RATE), time).await?.latencies());
    talk.end().await;
    single.program.stop().await?;
    Ok(figures)
}

/// A `klatsch` that knows the first users, not started yet, and their tokens.
async fn prepared(devices: usize) -> Result<(Single, Vec<String>)> {
    let single = Single::new().await?;
    let data = single.data();
    private(&data)?;
    let users = Users::of(&data.join("signing-key.pem"))?;
    let engines = Engines::embedded(&data).await?;
    numbered::register(&engines.store, devices).await?;
    engines.close().await;
    Ok((single, users.tokens(devices)?))
}

/// Makes the folder as `klatsch` would: for nobody else.
fn private(data: &Path) -> Result<()> {
    process::private::folder(data).with_context(|| format!("creating {}", data.display()))
}

/// The floor is a process of its own, which prints its figures.
async fn fjall(wishes: &Wishes) -> Result<Figures> {
    let folder = TempDir::with_prefix("klatsch-bench-")?;
    let (rate, data) = (wishes.rate.unwrap_or(RATE), folder.path().join("db"));
    let mut arguments = vec!["rows".into(), data.into_os_string()];
    arguments.extend([wishes.senders as u64, wishes.seconds, rate].map(|number| number.to_string().into()));
    let ran = Ran::of(Setup { program: "bare", arguments, limits: wishes.cores.limits(), ..Setup::default() }).await?;
    let [per_second, cpu_us, p50, p99] = printed(&ran.success()?)?;
    Ok(vec![
        ("acknowledged per second", per_second),
        ("CPU us of each", cpu_us),
        ("ack p50 ms", p50),
        ("ack p99 ms", p99),
    ])
}
