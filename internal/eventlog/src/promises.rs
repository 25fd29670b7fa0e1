//! Whether topics can keep their promises: for readiness.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use events::Codec;
use events::topics::{Lane, TopicSpec, spec_of};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::{sleep, timeout};

use crate::{EventLog, LogError, record_at};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Between two looks while something is wrong.
const EVERY_WRONG: Duration = Duration::from_millis(500);
/// The longest that the log may take for one answer. Beyond, it counts as not reachable.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Partitions that are looked at at once: on Kafka each costs round trips.
const LOOKS_AT_ONCE: usize = 16;

/// Looks at the topics that a program reads or writes again and again, and tells each time what is wrong with them, if
/// anything is.
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

/// Some topics, and what is known of them.
#[derive(Debug)]
pub struct Promises {
    topics: Vec<Known>,
}

/// A topic, and what is known of it.
#[derive(Debug)]
struct Known {
    topic: &'static TopicSpec,
    /// Whether all its genesis records were seen: they do not change.
    begun: bool,
    /// Partitions that did not answer at the last look.
    silent: Vec<u32>,
    /// That somebody added partitions: said once.
    grown: Option<String>,
}

/// What a look at a partition found.
enum Look {
    Well,
    Fault(String),
    /// It does not answer at the moment.
    Silent(LogError),
}

impl Promises {
    /// Those of that name. A topic of the lossy lane promises nothing: no program waits for it.
    #[must_use]
    pub fn of(topics: &[&str]) -> Self {
        let known = |topic: &&str| Known { topic: spec_of(topic), begun: false, silent: Vec::new(), grown: None };
        Self { topics: topics.iter().map(known).filter(|known| known.topic.lane == Lane::Durable).collect() }
    }

    /// What is wrong, in words: of each topic the first thing.
    ///
    /// A partition that does not answer, as one without a leader, is logged and no fault while others of its topic do:
    /// every program would turn unready at once, and what harms some conversations or users would shut all of them out.
    ///
    /// # Errors
    /// When the log does not answer, or no partition of a topic.
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
        // No reason to shut everybody out: only what is written to the added ones is lost.
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
    // Asked each time: a partition may be without a leader.
    let marks = match in_time(log.watermarks(name, partition)).await {
        Ok(marks) => marks,
        Err(error) if error.is_transient() => return Ok(Look::Silent(error)),
        Err(error) => return Err(error),
    };
    if begun || marks.low > 0 {
        return Ok(Look::Well);
    }
    // An error here is the topic's: offset 0 may hold what is nobody's to read, and then nothing ever comes.
    let first = in_time(record_at(log, name, partition, 0)).await?;
    let begins = first.is_some_and(|first| codec.is_genesis(&first.headers, &first.payload, topic.generation));
    let fault = || Look::Fault(format!("{name}/{partition} has no genesis record: run 'klatschctl topics apply'"));
    Ok(if begins { Look::Well } else { fault() })
}

async fn in_time<T>(answer: impl Future<Output = Result<T, LogError>> + Send) -> Result<T, LogError> {
    timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|late| Err(LogError::Transient(late.into())))
}
