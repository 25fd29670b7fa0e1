//! How far the consumers have come in the log.

use std::time::Duration;

use anyhow::{Result, ensure};
use domain::Seq;
use eventlog::{SharedLog, TopicPartition};
use events::topics::{GROUP_FANOUT, MESSAGES, spec_of};
use store::{SharedStore, Source};
use tokio::time::{Instant, sleep};

/// The longest that a backlog may take.
const DONE_WITHIN: Duration = Duration::from_secs(1_800);
/// How often commits are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The next offsets of a topic's partitions, in their order.
///
/// # Errors
/// When the log cannot be read.
pub async fn ends(log: &SharedLog, topic: &str) -> Result<Vec<u64>> {
    let mut ends = Vec::new();
    for partition in 0..spec_of(topic).partitions {
        ends.push(log.watermarks(topic, partition).await?.next);
    }
    Ok(ends)
}

/// Waits until storage has applied all of `chat.messages` before these ends.
///
/// # Errors
/// When that takes too long.
pub async fn applied(store: &SharedStore, ends: &[u64]) -> Result<()> {
    let begun = Instant::now();
    for (partition, next) in (0..).zip(ends).filter(|(_, next)| **next > 0) {
        let (source, seq) = (Source { topic: MESSAGES, partition }, Seq::new(spec_of(MESSAGES).generation, next - 1)?);
        let wait = DONE_WITHIN.saturating_sub(begun.elapsed());
        ensure!(store.wait_applied(source, seq, wait).await?, "void: storage has not reached the end");
    }
    Ok(())
}

/// Waits until the fan-out has committed all of `chat.messages` before these ends.
///
/// # Errors
/// When that takes too long.
pub async fn delivered(log: &SharedLog, ends: &[u64]) -> Result<()> {
    let begun = Instant::now();
    for (partition, end) in (0..).zip(ends) {
        let at = TopicPartition::new(MESSAGES, partition);
        while log.committed(GROUP_FANOUT, &at).await?.is_none_or(|commit| commit.next < *end) {
            ensure!(begun.elapsed() < DONE_WITHIN, "void: the fan-out has not reached the end");
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}
