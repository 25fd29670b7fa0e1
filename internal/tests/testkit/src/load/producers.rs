//! Other producers that write to the log during a load.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use environment::Clock;
use eventlog::append;
use tokio::time::sleep;
use workload::Random;

use super::world::World;
use crate::engines::Engines;
use crate::foreign::{About, Foreign};

/// How many records of each kind were written.
pub type Written = BTreeMap<&'static str, u32>;

/// Writes records about the load's conversations and users: each kind in each topic, so many times, with at most
/// `apart` between two of them.
///
/// # Errors
/// When an append fails.
pub async fn write_foreign(world: &World, engines: &Engines, rounds: usize, apart: Duration) -> Result<Written> {
    let (mut random, mut written) = (Random::new(world.config.seed ^ 0xf0e1), Written::new());
    let apart_ms = u64::try_from(apart.as_millis())?;
    for what in std::iter::repeat_n(Foreign::all(), rounds).flatten() {
        sleep(Duration::from_millis(random.below(apart_ms + 1))).await;
        let room = random.pick(&world.rooms);
        let about = About {
            codec: &engines.codec,
            conversation: room.id,
            another: random.pick(&world.rooms).id,
            member: world.accounts[*random.pick(&room.members)].user,
            user: random.pick(&world.accounts).user,
            now_ms: Clock::system().now_ms(),
        };
        let (topic, record) = (what.stream().topic(), about.record(what, &mut random));
        append(&*engines.log, topic, record).await.with_context(|| format!("writing {what:?} to {topic}"))?;
        *written.entry(what.counted()).or_default() += 1;
    }
    Ok(written)
}
