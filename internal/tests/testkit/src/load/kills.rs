//! `kill -9` at random moments.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;
use workload::Random;

use crate::programs::{Cluster, Service, Single};

/// A program is killed at a random time within so many milliseconds after it was ready.
const WITHIN_MS: u64 = 2_500;

/// How long programs took to be ready again after each kill.
#[derive(Debug, Default)]
pub struct Killed {
    /// The durations, by program.
    pub ready: BTreeMap<&'static str, Vec<Duration>>,
}

impl Killed {
    /// A line for each program: how often it was killed, and how long it took to be ready again.
    #[must_use]
    pub fn table(&self) -> String {
        let line = |(name, times): (&&'static str, &Vec<Duration>)| {
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let (middle, last) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
            format!(
                "{name:18} killed {:3} times, ready again after {middle:.2?} (median), {last:.2?} (longest)\n",
                times.len()
            )
        };
        self.ready.iter().map(line).collect()
    }
}

/// Kills `klatsch` and starts it again, so many times.
///
/// # Errors
/// When it does not get ready again.
pub async fn kill_single(single: &mut Single, kills: usize, seed: u64) -> Result<Killed> {
    let (mut random, mut killed) = (Random::new(seed ^ 0x6b31), Killed::default());
    for _ in 0..kills {
        sleep(Duration::from_millis(random.below(WITHIN_MS))).await;
        single.program.kill().await?;
        let ready = single.program.start().await?;
        killed.ready.entry("klatsch").or_default().push(ready);
    }
    Ok(killed)
}

/// Kills each program of the cluster and starts it again, so many times, in random order.
///
/// # Errors
/// When one does not get ready again.
pub async fn kill_cluster(cluster: &mut Cluster, kills: usize, seed: u64) -> Result<Killed> {
    let (mut random, mut killed) = (Random::new(seed ^ 0x6b31), Killed::default());
    let mut left: Vec<Service> = Service::ALL.into_iter().flat_map(|service| vec![service; kills]).collect();
    while !left.is_empty() {
        let next = usize::try_from(random.below(left.len() as u64))?;
        let program = cluster.program(left.swap_remove(next));
        sleep(Duration::from_millis(random.below(WITHIN_MS))).await;
        program.kill().await?;
        // Sometimes it stays away for a while: others take over its partitions, and clients wait.
        if random.chance(20) {
            sleep(Duration::from_millis(random.below(WITHIN_MS))).await;
        }
        let ready = program.start().await?;
        killed.ready.entry(program.name()).or_default().push(ready);
    }
    Ok(killed)
}
