//! Checks for readiness whether topics keep their promises.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use events::Codec;
use events::topics::{Lane, TopicSpec, spec_of};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::{sleep, timeout};

use crate::{EventLog, LogError, record_at};

/// The interval between two checks.
const EVERY: Duration = Duration::from_secs(5);
/// The interval between two checks while there is a fault.
const EVERY_WRONG: Duration = Duration::from_millis(500);
/// The longest that the log may take for one answer. After that, it counts as not reachable.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Partitions that are checked concurrently: on Kafka each check costs round trips.
const LOOKS_AT_ONCE: usize = 16;

/// Checks the topics that a program reads or writes periodically, and reports each time the fault, if there is
/// one.
pub async fn watch(
    log: &dyn EventLog,
    topics: &[&str],
    codec: &Codec,
    mut tell: impl FnMut(Option<String>),
) -> Infallible {
    let mut promises = Promises::of(topics);
    loop {
        let fault = promises.fault(log, codec).await.unwrap_or_else(|error| Some(error.to_string()));
        let wait = if fault.is_none() { EVERY } else { EVERY_WRONG };
        tell(fault);
        sleep(wait).await;
    }
}

/// A set of topics with the results of earlier checks.
#[derive(Debug)]
pub struct Promises {
    topics: Vec<Known>,
}

/// A topic with the results of earlier checks.
#[derive(Debug)]
struct Known {
    topic: &'static TopicSpec,
    /// Whether all its genesis records were seen; they never change, so they are not read again.
    begun: bool,
    /// Partitions that did not answer at the last check.
    silent: Vec<u32>,
    /// Says that somebody added partitions; logged once.
    grown: Option<String>,
}

/// The result of a check of one partition.
enum Look {
    Well,
    Fault(String),
    /// The partition does not answer at the moment.
    Silent(LogError),
}

impl Promises {
    /// The topics of those names. Lossy topics are left out: they promise nothing, and no program waits for them.
    #[must_use]
    pub fn of(topics: &[&str]) -> Self {
        let known = |topic: &&str| Known { topic: spec_of(topic), begun: false, silent: Vec::new(), grown: None };
        Self { topics: topics.iter().map(known).filter(|known| known.topic.lane == Lane::Durable).collect() }
    }

    /// The first fault of each topic, in words.
    ///
    /// A partition that does not answer, such as one without a leader, is logged but is no fault while other
    /// partitions of its topic answer: otherwise every program would become unready at once, and a failure that
    /// affects some conversations or users would lock out all of them.
    ///
    /// # Errors
    /// When the log does not answer, or no partition of a topic does.
    pub async fn fault(&mut self, log: &dyn EventLog, codec: &Codec) -> Result<Option<String>, LogError> {
        let mut faults = Vec::new();
        for known in &mut self.topics {
            faults.extend(known.fault(log, codec).await?);
        }
        Ok((!faults.is_empty()).then(|| faults.join("; ")))
    }
}

impl Known {
    async fn fault(&mut self, log: &dyn EventLog, codec: &Codec) -> Result<Option<String>, LogError> {
        let (topic, begun) = (self.topic, self.begun);
        let Some(found) = in_time(log.describe(topic)).await? else {
            return Ok(Some(format!("there is no topic {}: run 'klatschctl topics apply'", topic.name)));
        };
        if !found.faults.is_empty() {
            return Ok(Some(found.faults.join("; ")));
        }
        // Added partitions do not make the program unready: only records written to them are ignored.
        if found.grown != self.grown {
            if let Some(reason) = &found.grown {
                tracing::warn!(topic = topic.name, reason, "a topic has grown");
            }
            self.grown = found.grown;
        }
        let looks = (0..topic.partitions).map(|partition| look_at(log, codec, topic, partition, begun));
        let looks: Vec<Look> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
        let (mut silent, mut last) = (Vec::new(), None);
        for (partition, look) in (0..).zip(looks) {
            match look {
                Look::Well => {}
                Look::Fault(fault) => return Ok(Some(fault)),
                Look::Silent(error) => {
                    silent.push(partition);
                    last = Some(error);
                }
            }
        }
        self.begun |= silent.is_empty();
        let all = silent.len() == topic.partitions as usize;
        let before = std::mem::replace(&mut self.silent, silent);
        match last {
            Some(error) if all => Err(error),
            Some(error) => {
                if before != self.silent {
                    let partitions = &self.silent;
                    tracing::warn!(topic = topic.name, ?partitions, %error, "partitions do not answer, others do");
                }
                Ok(None)
            }
            None => Ok(None),
        }
    }
}

async fn look_at(
    log: &dyn EventLog,
    codec: &Codec,
    topic: &TopicSpec,
    partition: u32,
    begun: bool,
) -> Result<Look, LogError> {
    let name = &topic.name;
    // Checked each time, because a partition may have lost its leader.
    let marks = match in_time(log.watermarks(name, partition)).await {
        Ok(marks) => marks,
        Err(error) if error.is_transient() => return Ok(Look::Silent(error)),
        Err(error) => return Err(error),
    };
    if begun || marks.low > 0 {
        return Ok(Look::Well);
    }
    // An error here is not transient: offset 0 may hold a record that cannot be read, and then a read never
    // returns one.
    let first = in_time(record_at(log, name, partition, 0)).await?;
    let begins = first.is_some_and(|first| codec.is_genesis(&first.headers, &first.payload, topic.generation));
    let fault = || Look::Fault(format!("{name}/{partition} has no genesis record: run 'klatschctl topics apply'"));
    Ok(if begins { Look::Well } else { fault() })
}

async fn in_time<T>(answer: impl Future<Output = Result<T, LogError>> + Send) -> Result<T, LogError> {
    timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|late| Err(LogError::Transient(late.into())))
}
