//! The delivery records of a message: one for each delivery partition in which a member is, so the smaller one of members
//! and partitions. Exactly: another number is a failure.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bench::progress::{delivered, ends};
use domain::UserId;
use eventlog::{SharedLog, partition_of_id};
use events::topics::{DELIVERIES, MESSAGES, spec_of};
use testkit::numbered;

use crate::contest::Contest;
use crate::ground::Ground;
use crate::messages::Messages;
use crate::report::Figures;
use crate::wishes::Wishes;

const MESSAGES_EACH: usize = 100;

/// Runs the rounds: conversations of these sizes take turns.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "records", contestants: &["2", "6", "12", "50", "1000"], floor: None };
    let ground = Ground::new(wishes).await?;
    let _running = (ground.program("storage-consumer", &[]).await?, ground.program("fanout-consumer", &[]).await?);
    contest.run(wishes, async |members| round(&ground.log, members.parse()?).await).await
}

async fn round(log: &SharedLog, members: usize) -> Result<Figures> {
    let (mut messages, expected) = (Messages::new(log), members.min(spec_of(DELIVERIES).partitions as usize));
    messages.open(&spread(members)).await?;
    messages.durable().await?;
    caught_up(log).await?;
    let before = records(log).await?;
    messages.say(MESSAGES_EACH).await?;
    caught_up(log).await?;
    let found = records(log).await? - before;
    ensure!(
        found == (MESSAGES_EACH * expected) as u64,
        "{found} records of {MESSAGES_EACH} messages, not {expected} each"
    );
    Ok(vec![("delivery records of a message, by members", found as f64 / MESSAGES_EACH as f64)])
}

/// So many users, the first of them of different delivery partitions, as far as there are any.
fn spread(members: usize) -> Vec<UserId> {
    let partitions = spec_of(DELIVERIES).partitions;
    let (mut met, mut first, mut others) = (BTreeSet::new(), Vec::new(), Vec::new());
    for user in (0..).map(numbered::user) {
        if met.insert(partition_of_id(user.uuid(), partitions)) {
            first.push(user);
        } else {
            others.push(user);
        }
        if met.len() == partitions as usize && first.len() + others.len() >= members {
            break;
        }
    }
    first.into_iter().chain(others).take(members).collect()
}

/// Waits until the fan-out has committed the end of the log.
async fn caught_up(log: &SharedLog) -> Result<()> {
    delivered(log, &ends(log, MESSAGES).await?).await
}

/// The records of `chat.deliveries`.
async fn records(log: &SharedLog) -> Result<u64> {
    Ok(ends(log, DELIVERIES).await?.iter().sum())
}
