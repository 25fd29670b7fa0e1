//! Whether topics can keep their promises: for readiness.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use events::Codec;
use events::topics::{TopicSpec, spec_of};
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
    /// Each with whether its genesis records were seen: they do not change.
    topics: Vec<(&'static TopicSpec, bool)>,
}

impl Promises {
    /// Those of that name.
    #[must_use]
    pub fn of(topics: &[&str]) -> Self {
        Self { topics: topics.iter().map(|topic| (spec_of(topic), false)).collect() }
    }

    /// What is wrong, in words: of each topic the first thing.
    ///
    /// # Errors
    /// When the log does not answer.
    pub async fn fault(&mut self, log: &dyn EventLog, codec: &Codec) -> Result<Option<String>, LogError> {
        let mut faults = Vec::new();
        for (topic, begun) in &mut self.topics {
            match fault_of(log, codec, topic, *begun).await? {
                Some(fault) => faults.push(fault),
                None => *begun = true,
            }
        }
        Ok((!faults.is_empty()).then(|| faults.join("; ")))
    }
}

async fn fault_of(
    log: &dyn EventLog,
    codec: &Codec,
    topic: &TopicSpec,
    begun: bool,
) -> Result<Option<String>, LogError> {
    let name = &topic.name;
    let Some(found) = in_time(log.describe(topic)).await? else {
        return Ok(Some(format!("there is no topic {name}: run 'klatschctl topics apply'")));
    };
    if !found.faults.is_empty() {
        return Ok(Some(found.faults.join("; ")));
    }
    let looks = (0..topic.partitions).map(|partition| async move {
        // Asked each time: a partition may be without a leader.
        let marks = in_time(log.watermarks(name, partition)).await?;
        if begun || marks.low > 0 {
            return Ok(None);
        }
        let first = in_time(record_at(log, name, partition, 0)).await?;
        let begins = first.is_some_and(|first| codec.is_genesis(&first.headers, &first.payload, topic.generation));
        let fault = || format!("{name}/{partition} has no genesis record: run 'klatschctl topics apply'");
        Ok::<_, LogError>((!begins).then(fault))
    });
    let faults: Vec<Option<String>> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
    Ok(faults.into_iter().flatten().next())
}

async fn in_time<T>(answer: impl Future<Output = Result<T, LogError>> + Send) -> Result<T, LogError> {
    timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|late| Err(LogError::Transient(late.into())))
}
