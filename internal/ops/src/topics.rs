//! Topics: finds what is missing or wrong, and creates what is missing.
//!
//! The order within a partition makes a crash at any point harmless: the topic, then the fan-out's commit at 0, then
//! the genesis record. Services do not regard a topic as ready while it lacks a genesis record, so every topic with
//! traffic has had the groups' commits. Two applies at the same time may leave two genesis records in a partition;
//! every reader skips the second.

use std::fmt;

use environment::Entropy;
use eventlog::{Commit, EventLog, LogError, NewRecord, TopicPartition, append, record_at};
use events::Codec;
use events::topics::{self, FANOUT_SOURCES, GROUP_FANOUT, Lane, TopicSpec};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::OpsError;

/// The key of genesis records. It is no id, so no consumer takes such a record for an event.
pub const GENESIS_KEY: &str = "genesis";

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Create the topic.
    Create(&'static TopicSpec),
    /// Commit 0 for a group that reads the topic from its beginning.
    CommitStart {
        /// The group.
        group: &'static str,
        /// The partition.
        at: TopicPartition,
    },
    /// Write the record that every partition begins with.
    Genesis {
        /// The topic.
        topic: &'static TopicSpec,
        /// The partition.
        partition: u32,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(topic) => {
                let (name, partitions) = (&topic.name, topic.partitions);
                write!(f, "create {name} with {partitions} partitions, kept {}", kept(topic))
            }
            Self::CommitStart { group, at } => write!(f, "commit offset 0 of {at} for group {group}"),
            Self::Genesis { topic, partition } => write!(f, "write the genesis record of {}/{partition}", topic.name),
        }
    }
}

fn kept(topic: &TopicSpec) -> String {
    match topic.retention {
        None => "for ever".to_owned(),
        Some(time) if time.as_secs().is_multiple_of(86_400) => format!("for {} days", time.as_secs() / 86_400),
        Some(time) => format!("for {} s", time.as_secs()),
    }
}

/// What `topics apply` has to do, and the faults that prevent it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The missing parts, in the order in which they are created.
    pub steps: Vec<Step>,
    /// Faults of topics that a person has to repair, in words. If there are any, nothing is done.
    pub faults: Vec<String>,
    /// Faults of topics of the lossy lane, in words: they prevent nothing.
    pub warnings: Vec<String>,
    /// Lost commits of the fan-out, in words: only the fan-out cannot run without them.
    pub lost: Vec<String>,
}

/// Partitions that are examined at once: on Kafka each costs round trips.
const LOOKS_AT_ONCE: usize = 16;

/// Examines every topic, and the commits of the fan-out.
///
/// # Errors
/// When the log cannot be read.
pub async fn plan(log: &dyn EventLog) -> Result<Plan, LogError> {
    look(log, true).await
}

async fn look(log: &dyn EventLog, at_commits: bool) -> Result<Plan, LogError> {
    let (codec, mut plan) = (Codec::compiled_in(), Plan::default());
    for topic in topics::all() {
        if topic.lane == Lane::Lossy {
            plan.look_at_lossy(log, topic).await;
            continue;
        }
        match log.describe(topic).await? {
            None => {
                plan.steps.push(Step::Create(topic));
                for partition in 0..topic.partitions {
                    plan.steps.extend(start_of(topic, partition));
                    plan.steps.push(Step::Genesis { topic, partition });
                }
            }
            Some(found) if !found.faults.is_empty() => plan.faults.extend(found.faults),
            Some(described) => {
                plan.faults.extend(described.grown);
                let looks = (0..topic.partitions).map(|partition| found(log, &codec, topic, partition, at_commits));
                let found: Vec<Found> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
                found.iter().for_each(|found| plan.judge(topic, found));
            }
        }
    }
    Ok(plan)
}

/// The state of a partition.
struct Found {
    partition: u32,
    beginning: Beginning,
    /// Whether the partition lacks the fan-out's commit.
    lacks_commit: bool,
}

async fn found(
    log: &dyn EventLog,
    codec: &Codec,
    topic: &TopicSpec,
    partition: u32,
    at_commits: bool,
) -> Result<Found, LogError> {
    let beginning = beginning(log, codec, topic, partition).await?;
    let at = TopicPartition::new(&topic.name, partition);
    let reads = at_commits && FANOUT_SOURCES.contains(&topic.name.as_str());
    let lacks_commit = reads && log.committed(GROUP_FANOUT, &at).await?.is_none();
    Ok(Found { partition, beginning, lacks_commit })
}

impl Plan {
    /// A topic of the lossy lane only has to exist: it has no genesis records and no commits, and no service waits
    /// for it.
    async fn look_at_lossy(&mut self, log: &dyn EventLog, topic: &'static TopicSpec) {
        match log.describe(topic).await {
            Ok(None) => self.steps.push(Step::Create(topic)),
            Ok(Some(found)) => self.warnings.extend(found.faults.into_iter().chain(found.grown)),
            Err(error) => self.warnings.push(format!("{} cannot be looked at: {error}", topic.name)),
        }
    }

    fn judge(&mut self, topic: &'static TopicSpec, found: &Found) {
        let partition = found.partition;
        let at = TopicPartition::new(&topic.name, partition);
        if let Beginning::Foreign = found.beginning {
            self.faults.push(format!(
                "{at} does not begin with the genesis record of generation {}: somebody else wrote to it first",
                topic.generation
            ));
            return;
        }
        if found.lacks_commit {
            match found.beginning {
                // The partition is empty, so a commit at 0 skips nothing.
                Beginning::Empty | Beginning::GenesisAlone => self.steps.extend(start_of(topic, partition)),
                Beginning::Used | Beginning::Foreign => self.lost.push(format!(
                    "group {GROUP_FANOUT} has no commit in {at}, which has records: it was lost or has expired; \
                     say where the fan-out goes on with 'klatschctl groups set'"
                )),
            }
        }
        if let Beginning::Empty = found.beginning {
            self.steps.push(Step::Genesis { topic, partition });
        }
    }
}

/// How a partition begins.
enum Beginning {
    Empty,
    GenesisAlone,
    /// With its genesis record, or with a later record where the genesis record was trimmed.
    Used,
    Foreign,
}

async fn beginning(
    log: &dyn EventLog,
    codec: &Codec,
    topic: &TopicSpec,
    partition: u32,
) -> Result<Beginning, LogError> {
    let marks = log.watermarks(&topic.name, partition).await?;
    if marks.next == 0 {
        return Ok(Beginning::Empty);
    }
    if marks.low > 0 {
        return Ok(Beginning::Used);
    }
    match record_at(log, &topic.name, partition, 0).await? {
        Some(record) if codec.is_genesis(&record.headers, &record.payload, topic.generation) => {
            Ok(if marks.next == 1 { Beginning::GenesisAlone } else { Beginning::Used })
        }
        Some(_) => Ok(Beginning::Foreign),
        // The record was trimmed meanwhile.
        None => Ok(Beginning::Used),
    }
}

fn start_of(topic: &TopicSpec, partition: u32) -> Option<Step> {
    let reads = FANOUT_SOURCES.contains(&topic.name.as_str());
    reads.then(|| Step::CommitStart { group: GROUP_FANOUT, at: TopicPartition::new(&topic.name, partition) })
}

/// Creates what is missing, calling `done` after each step. It may crash at any point, and may be repeated.
///
/// # Errors
/// [`OpsError::Refused`] when a topic is wrong (then nothing was done) or when commits are lost (then the rest was
/// done); also when the log fails.
pub async fn apply(
    log: &dyn EventLog,
    codec: &Codec,
    entropy: &Entropy,
    mut done: impl FnMut(&Step),
) -> Result<usize, OpsError> {
    let plan = plan(log).await?;
    if !plan.faults.is_empty() {
        return Err(OpsError::Refused(plan.faults));
    }
    for step in &plan.steps {
        carry_out(log, codec, entropy, step).await?;
        done(step);
    }
    if !plan.lost.is_empty() {
        return Err(OpsError::Refused(plan.lost));
    }
    Ok(plan.steps.len())
}

/// Performs one step of a plan. Repeating it is harmless.
///
/// # Errors
/// When the log fails.
pub async fn carry_out(log: &dyn EventLog, codec: &Codec, entropy: &Entropy, step: &Step) -> Result<(), OpsError> {
    match step {
        Step::Create(topic) => log.create(topic).await?,
        Step::CommitStart { group, at } => {
            log.commit_offline(group, &[(at.clone(), Commit { next: 0, metadata: String::new() })]).await?;
        }
        Step::Genesis { topic, partition } => {
            let encoded = codec.genesis(entropy.bytes(), topic.generation);
            let record = NewRecord {
                key: GENESIS_KEY.to_owned(),
                partition: Some(*partition),
                headers: encoded.headers,
                payload: encoded.payload,
            };
            append(log, &topic.name, record).await?;
        }
    }
    Ok(())
}

/// The faults that keep services from using the topics, in words; empty when there are none. Writes nothing. The
/// fan-out checks its commits by itself.
///
/// # Errors
/// When the log cannot be read.
pub async fn check_topics(log: &dyn EventLog) -> Result<Vec<String>, LogError> {
    let plan = look(log, false).await?;
    let missing = plan.steps.iter().filter_map(|step| match step {
        Step::Create(topic) if topic.lane == Lane::Durable => {
            Some(format!("there is no topic {}: run 'klatschctl topics apply --yes'", topic.name))
        }
        _ => None,
    });
    let mut faults: Vec<String> = missing.collect();
    let unbegun = |topic: &TopicSpec| {
        let mine = |step: &&Step| matches!(step, Step::Genesis { topic: other, .. } if other.name == topic.name);
        plan.steps.iter().filter(mine).count()
    };
    for topic in topics::durable() {
        let created = plan.steps.contains(&Step::Create(topic));
        if !created && unbegun(topic) > 0 {
            faults.push(format!(
                "{} lacks the genesis record in {} of {} partitions: run 'klatschctl topics apply --yes'",
                topic.name,
                unbegun(topic),
                topic.partitions
            ));
        }
    }
    faults.extend(plan.faults);
    Ok(faults)
}
