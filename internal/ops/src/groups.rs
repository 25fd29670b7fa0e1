//! The positions of the consumer groups, and how a lost commit is set.

use std::fmt;

use eventlog::{Commit, EventLog, LogError, TopicPartition};
use events::topics::{FANOUT_SOURCES, GROUP_FANOUT, GROUP_STORAGE, STORAGE_SOURCES, spec_of};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

use crate::OpsError;

/// Partitions that are read at once: on Kafka each costs round trips.
const LOOKS_AT_ONCE: usize = 16;

/// The position of a group in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The group.
    pub group: &'static str,
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: u32,
    /// The next offset that the group processes; `None` without a commit.
    pub next: Option<u64>,
    /// The end of the partition.
    pub end: u64,
    /// The number of parked conversations and lagging delivery partitions.
    pub waiting: usize,
}

impl Position {
    /// The number of records that the group has not read yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.end.saturating_sub(self.next.unwrap_or(0))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}: ", self.group, self.topic, self.partition)?;
        match self.next {
            Some(next) if self.waiting > 0 => {
                write!(f, "at {next} of {}, {} behind, {} waiting", self.end, self.lag(), self.waiting)
            }
            Some(next) => write!(f, "at {next} of {}, {} behind", self.end, self.lag()),
            None => write!(f, "no commit, the partition ends at {}", self.end),
        }
    }
}

/// The positions of all groups. Storage's commits are informational: it resumes from its rows.
///
/// # Errors
/// When the log cannot be read.
pub async fn list(log: &dyn EventLog) -> Result<Vec<Position>, LogError> {
    let groups = [(GROUP_FANOUT, &FANOUT_SOURCES[..]), (GROUP_STORAGE, &STORAGE_SOURCES[..])];
    let all = groups.into_iter().flat_map(|(group, topics)| {
        let partitions = |topic: &'static str| (0..spec_of(topic).partitions).map(move |partition| (topic, partition));
        topics.iter().flat_map(move |topic| partitions(topic).map(move |(topic, partition)| (group, topic, partition)))
    });
    let looks = all.map(|(group, topic, partition)| position(log, group, topic, partition));
    stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await
}

async fn position(
    log: &dyn EventLog,
    group: &'static str,
    topic: &'static str,
    partition: u32,
) -> Result<Position, LogError> {
    let end = log.watermarks(topic, partition).await?.next;
    let commit = log.committed(group, &TopicPartition::new(topic, partition)).await?;
    let waiting = commit.as_ref().map_or(0, |commit| waiting(&commit.metadata));
    Ok(Position { group, topic, partition, next: commit.map(|commit| commit.next), end, waiting })
}

/// Counts the parked conversations and lagging partitions in the fan-out's metadata: a version, a fingerprint, and a
/// part for each of them.
fn waiting(metadata: &str) -> usize {
    metadata.split(';').skip(2).count()
}

/// Checks that the fan-out may resume at `offset` of a partition. Returns what that means for devices.
///
/// # Errors
/// When there is no such offset.
pub async fn plan_set(log: &dyn EventLog, at: &TopicPartition, offset: u64) -> Result<String, OpsError> {
    if !FANOUT_SOURCES.contains(&at.topic.as_str()) {
        let known = FANOUT_SOURCES.join(", ");
        return Err(OpsError::Usage(format!("the fan-out does not read {}; it reads {known}", at.topic)));
    }
    if at.partition >= spec_of(&at.topic).partitions {
        return Err(OpsError::Usage(format!("{} has no partition {}", at.topic, at.partition)));
    }
    let marks = log.watermarks(&at.topic, at.partition).await?;
    if offset < marks.low || offset > marks.next {
        let (low, next) = (marks.low, marks.next);
        return Err(OpsError::Usage(format!("{at} has offsets {low} to {next}: {offset} is none of them")));
    }
    let commit = log.committed(GROUP_FANOUT, at).await?;
    let parked = commit.as_ref().is_some_and(|commit| !commit.metadata.is_empty());
    let parked = if parked { "; what it has parked is forgotten, so go back far enough" } else { "" };
    let now = commit.map(|commit| commit.next);
    let words = match now {
        Some(now) if offset > now => format!(
            "{at}: from {now} to {offset}: devices are never sent the {} records between, and do not notice",
            offset - now
        ),
        Some(now) if offset < now => {
            format!("{at}: from {now} back to {offset}: {} records are sent again, devices drop them", now - offset)
        }
        Some(now) => format!("{at}: stays at {now}"),
        None => format!("{at}: no commit yet, goes on at {offset}: devices are not sent what stands before"),
    };
    Ok(words + parked)
}

/// Sets the fan-out's commit. Refused by the log while the group has members.
///
/// # Errors
/// When there is no such offset or the log fails.
pub async fn set(log: &dyn EventLog, at: &TopicPartition, offset: u64) -> Result<(), OpsError> {
    plan_set(log, at, offset).await?;
    let commit = Commit { next: offset, metadata: String::new() };
    log.commit_offline(GROUP_FANOUT, &[(at.clone(), commit)]).await.map_err(|error| match error {
        LogError::Broken(cause) => OpsError::Failed(format!(
            "nothing was set: {cause}; stop the fan-out first, everywhere: the fan-out consumers, or 'klatsch' on one machine"
        )),
        error => OpsError::Log(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_beside_a_commit_is_counted_and_said() {
        for (metadata, count) in [("", 0), ("1;0000000000000007", 0), ("2;0000000000000007;@3:1;AAAA:zz", 2)] {
            assert_eq!(waiting(metadata), count, "{metadata}");
        }
        let at = |waiting| Position { group: "g", topic: "t", partition: 1, next: Some(3), end: 5, waiting };
        assert_eq!(at(0).to_string(), "g t/1: at 3 of 5, 2 behind");
        assert_eq!(at(2).to_string(), "g t/1: at 3 of 5, 2 behind, 2 waiting");
    }
}
