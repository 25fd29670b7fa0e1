//! The storage consumer on a backlog: events a second, beside the bare driver writing the same rows.

use anyhow::{Context as _, Result};
use bench::processes::cpu_of;
use bench::progress::{applied, ends};
use events::topics;
use testkit::numbered;
use testkit::programs::{Ran, Setup};
use tokio::time::Instant;

use crate::contest::Contest;
use crate::ground::{BARE, Ground};
use crate::messages::Messages;
use crate::report::Figures;
use crate::wishes::Wishes;

const STORAGE: &str = "storage-consumer";
/// Messages of a round, unless another number is asked for.
pub(crate) const MESSAGES: usize = 300_000;
pub(crate) const CONVERSATIONS: usize = 1_200;
/// Messages before the figures count: servers and programs have compiled and cached what they need.
const WARM_UP: usize = 20_000;

/// Runs the rounds. The consumer is stopped (SIGSTOP) while the backlog is appended, and goes on then.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "storage", contestants: &[BARE, STORAGE], floor: Some(BARE) };
    let ground = Ground::new(wishes).await?;
    let mut messages = Messages::new(&ground.log);
    for number in 0..CONVERSATIONS {
        messages.open(&[numbered::user(number * 2), numbered::user(number * 2 + 1)]).await?;
    }
    messages.durable().await?;
    let count = wishes.messages.unwrap_or(MESSAGES);
    let round = async |contestant| match contestant {
        BARE => bare(&ground, wishes, count).await,
        _ => storage(&ground, &mut messages, count).await,
    };
    contest.run(wishes, round).await
}

async fn storage(ground: &Ground, messages: &mut Messages, count: usize) -> Result<Figures> {
    let store = ground.cluster.store().await?;
    let mut storage = ground.program(STORAGE, &[]).await?;
    messages.say(WARM_UP).await?;
    applied(&store, &ends(&ground.log, topics::MESSAGES).await?).await?;
    storage.pause()?;
    messages.say(count).await?;
    let (all, pid) = (ends(&ground.log, topics::MESSAGES).await?, storage.pid().context("it runs")?);
    let (begun, cpu) = (Instant::now(), cpu_of(pid)?);
    storage.resume()?;
    applied(&store, &all).await?;
    let (took, cpu) = (begun.elapsed(), cpu_of(pid)? - cpu);
    storage.kill().await?;
    messages.appended.all_stored(&store).await?;
    Ok(figures(count as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count as f64))
}

/// The floor is a process of its own, which prints its figures.
async fn bare(ground: &Ground, wishes: &Wishes, count: usize) -> Result<Figures> {
    let (address, keyspace) = ground.cluster.tables();
    let words = ["store", address, &keyspace, &count.to_string(), &CONVERSATIONS.to_string()];
    let (arguments, limits) = (words.map(Into::into).to_vec(), wishes.cores.limits());
    let ran = Ran::of(Setup { program: BARE, arguments, limits, ..Setup::default() }).await?;
    let [per_second, cpu_us] = printed(&ran.success()?)?;
    Ok(figures(per_second, cpu_us))
}

fn figures(per_second: f64, cpu_us: f64) -> Figures {
    vec![("events per second", per_second), ("CPU us of each", cpu_us)]
}

/// The figures that a program printed.
pub(crate) fn printed<const N: usize>(output: &str) -> Result<[f64; N]> {
    let figures: Vec<f64> = output.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    figures.try_into().ok().with_context(|| format!("not {N} figures: {output}"))
}
