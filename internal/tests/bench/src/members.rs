//! How the cost of a message grows with the members of its conversation, each with a device: on `klatsch`.

use std::time::Duration;

use anyhow::Result;
use testkit::numbered;

use crate::contest::Contest;
use crate::folder::Folder;
use crate::report::Figures;
use crate::talk::Talk;
use crate::wishes::Wishes;

/// Frames a second over all devices: so many messages that there are as many of these in every conversation, but at
/// most [`MESSAGES_MAX`]. In the largest one that is a message in four seconds: the tool's core reads its frames in one.
const FRAMES: f64 = 2_500.0;
/// Messages a second: a device may send 30, and the smallest conversation has two.
const MESSAGES_MAX: f64 = 50.0;
const SECONDS: u64 = 20;
const WARM_UP: Duration = Duration::from_secs(3);

/// Runs the rounds: conversations of these sizes take turns.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "members", contestants: &["2", "50", "1000", "10000"], floor: Some("2") };
    contest.run(wishes, async |members| round(wishes, members.parse()?).await).await
}

async fn round(wishes: &Wishes, members: usize) -> Result<Figures> {
    let (mut folder, mut opened) = (Folder::new(wishes).await?, None);
    let users: Vec<_> = (0..members).map(numbered::user).collect();
    folder
        .fill(async |messages| {
            opened = Some(messages.open(&users).await?);
            Ok(())
        })
        .await?;
    let tokens = folder.tokens(members)?;
    folder.single.program.start().await?;
    folder.judged(1).await?;
    let conversation = opened.map(|conversation| conversation.to_string()).unwrap_or_default();
    let mut talk = Talk::join(folder.single.program.address(), &tokens, &conversation).await?;
    let rate = (FRAMES / members as f64).min(MESSAGES_MAX);
    talk.at_rate(rate, WARM_UP).await?;
    let cpu = folder.cpu()?;
    let period = talk.at_rate(rate, wishes.time(SECONDS)).await?;
    let cpu_us = (folder.cpu()? - cpu).as_secs_f64() * 1e6 / period.messages as f64;
    talk.end().await;
    folder.single.program.kill().await?;
    let mut figures = period.latencies();
    figures.extend([("CPU us of a message", cpu_us), ("CPU us of a member's frame", cpu_us / members as f64)]);
    Ok(figures)
}
