//! Requests to the brokers. librdkafka's calls for them block, so they run on the runtime's blocking threads, with
//! a bound on their number and a timeout for each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventlog::{Commit, LogError, TopicPartition, Watermarks};
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::config::KafkaConfig;
use crate::context::Quiet;
use crate::errors::{Kind, broken, kind_of, log_error};

/// The timeout of a request.
pub(crate) const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// The wait before a request is retried.
const RETRY_WAIT: Duration = Duration::from_millis(50);
/// The number of offsets before an end that are searched first for a record.
const PROBE_BACK: u64 = 16;
/// Concurrent requests; further ones wait.
const REQUESTS_MAX: usize = 32;

/// Makes requests about topics and groups.
pub(crate) struct Requests {
    config: KafkaConfig,
    /// The number of partitions by topic, as first seen: it is fixed.
    partitions: Mutex<BTreeMap<String, u32>>,
    turns: Semaphore,
}

#[derive(Debug, thiserror::Error)]
#[error("the group has members: its commits are theirs")]
struct GroupHasMembers;

#[derive(Debug, thiserror::Error)]
#[error("a broker does not know a partition that the cluster has: it is coming up, or electing")]
struct Unknown;

impl Requests {
    pub(crate) fn new(config: KafkaConfig) -> Self {
        Self { config, partitions: Mutex::default(), turns: Semaphore::new(REQUESTS_MAX) }
    }

    /// The number of the topic's partitions.
    pub(crate) async fn partitions(&self, consumer: &Arc<BaseConsumer<Quiet>>, topic: &str) -> Result<u32, LogError> {
        if let Some(count) = self.partitions.lock().unwrap_or_else(PoisonError::into_inner).get(topic) {
            return Ok(*count);
        }
        let (consumer, name) = (Arc::clone(consumer), topic.to_owned());
        let count = self.ask(topic, move || count_partitions(&consumer, &name, REQUEST_WAIT)).await?;
        if count == 0 {
            return Err(LogError::NoTopic(topic.to_owned()));
        }
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned(), count);
        Ok(count)
    }

    pub(crate) async fn watermarks(
        &self,
        consumer: &Arc<BaseConsumer<Quiet>>,
        at: &TopicPartition,
    ) -> Result<Watermarks, LogError> {
        let (asked, partition) = (Arc::clone(consumer), at.clone());
        let ask = move || asked.fetch_watermarks(&partition.topic, number(partition.partition), REQUEST_WAIT);
        let (low, next) = self.confirmed(consumer, at, self.ask(&at.topic, ask).await).await?;
        Ok(Watermarks { low: u64::try_from(low).unwrap_or(0), next: u64::try_from(next).unwrap_or(0) })
    }

    /// The offset of the last record before `end`: the broker has shown that the offsets after it hold none.
    pub(crate) async fn last_before(
        &self,
        consumer: &Arc<BaseConsumer<Quiet>>,
        at: &TopicPartition,
        low: u64,
        end: u64,
    ) -> Result<Option<u64>, LogError> {
        let mut back = PROBE_BACK;
        loop {
            let from = end.saturating_sub(back).max(low);
            if from >= end {
                return Ok(None);
            }
            let (config, partition) = (self.config.probe(), at.clone());
            let ask = move || last_between(&config, &partition, from, end);
            if let Some(offset) = self.confirmed(consumer, at, self.ask(&at.topic, ask).await).await? {
                return Ok(Some(offset));
            }
            if from == low {
                return Ok(None);
            }
            back *= 16;
        }
    }

    pub(crate) async fn offset_at(
        &self,
        consumer: &Arc<BaseConsumer<Quiet>>,
        at: &TopicPartition,
        time_ms: i64,
    ) -> Result<Option<u64>, LogError> {
        let (asked, partition) = (Arc::clone(consumer), at.clone());
        let ask = move || {
            let mut times = TopicPartitionList::new();
            // Negative times have special meanings for the broker.
            let time = Offset::Offset(time_ms.max(0));
            times.add_partition_offset(&partition.topic, number(partition.partition), time)?;
            let found = asked.offsets_for_times(times, REQUEST_WAIT)?;
            let found = found.elements();
            let element = found.first().ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::Partial))?;
            element.error().map(|()| element.offset())
        };
        let found = self.ask(&at.topic, ask).await;
        Ok(match self.confirmed(consumer, at, found).await? {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        })
    }

    pub(crate) async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError> {
        let (config, partition) = (self.config.visitor(group), at.clone());
        let ask = move || {
            let visitor = BaseConsumer::from_config_and_context(&config, Quiet::default())?;
            committed(&visitor, std::slice::from_ref(&partition))
        };
        Ok(self.ask(&at.topic, ask).await?.into_iter().next().and_then(|(_, commit)| commit))
    }

    pub(crate) async fn commit_offline(
        &self,
        group: &str,
        commits: &[(TopicPartition, Commit)],
    ) -> Result<(), LogError> {
        let (config, commits) = (self.config.visitor(group), commits.to_vec());
        let topic = commits.first().map(|(at, _)| at.topic.clone()).unwrap_or_default();
        let ask = move || {
            let visitor = BaseConsumer::from_config_and_context(&config, Quiet::default())?;
            match visitor.commit(&with_commits(&commits)?, CommitMode::Sync) {
                Err(error) if kind_of(&error) == Kind::Fenced => Ok(Err(GroupHasMembers)),
                committed => committed.map(Ok),
            }
        };
        self.ask(&topic, ask).await?.map_err(broken)
    }

    /// Returns the answer, but believes "no such partition" only if the cluster's metadata agrees: a broker that
    /// has just started, or is fenced for a moment, does not know which partitions it leads.
    async fn confirmed<T>(
        &self,
        consumer: &Arc<BaseConsumer<Quiet>>,
        at: &TopicPartition,
        answer: Result<T, LogError>,
    ) -> Result<T, LogError> {
        let Err(LogError::NoTopic(_)) = &answer else { return answer };
        let (consumer, topic) = (Arc::clone(consumer), at.topic.clone());
        let count = self.ask(&at.topic, move || count_partitions(&consumer, &topic, REQUEST_WAIT)).await;
        if count.is_ok_and(|count| at.partition >= count) {
            answer
        } else {
            Err(LogError::Transient(Box::new(Unknown)))
        }
    }

    /// Makes the request, and retries for [`REQUEST_WAIT`] while the cluster is not ready to answer.
    async fn ask<T: Send + 'static>(
        &self,
        topic: &str,
        question: impl Fn() -> KafkaResult<T> + Send + Sync + 'static,
    ) -> Result<T, LogError> {
        let turn = self.turns.acquire().await.map_err(broken)?;
        let (question, deadline) = (Arc::new(question), Instant::now() + REQUEST_WAIT);
        let answer = loop {
            let asking = Arc::clone(&question);
            let answer = tokio::task::spawn_blocking(move || asking()).await.map_err(broken)?;
            match answer {
                Err(error) if settles(&error) && Instant::now() < deadline => sleep(RETRY_WAIT).await,
                answer => break answer,
            }
        };
        drop(turn);
        answer.map_err(|error| log_error(topic, error))
    }
}

/// Whether the cluster is electing and will answer in a moment. (A lost connection has used up its time already.)
fn settles(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::ReplicaNotAvailable
                | Code::UnknownLeaderEpoch
                | Code::FencedLeaderEpoch
                | Code::NotCoordinator
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::WaitingForCoordinator
        )
    )
}

/// The offset of the last record between `from` and `end`, reading up to the partition's end or past `end`.
fn last_between(config: &ClientConfig, at: &TopicPartition, from: u64, end: u64) -> KafkaResult<Option<u64>> {
    let probe = BaseConsumer::from_config_and_context(config, Quiet::default())?;
    let mut partitions = TopicPartitionList::new();
    let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
    partitions.add_partition_offset(&at.topic, number(at.partition), offset)?;
    probe.assign(&partitions)?;
    let (begun, mut last) = (Instant::now(), None);
    while begun.elapsed() < REQUEST_WAIT {
        match probe.poll(Duration::from_millis(100)) {
            None => {}
            // Only offsets after the last record are skipped up to this end, which is the broker's current one.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
            Some(Err(error)) if kind_of(&error) == Kind::Transient => {}
            Some(Err(error)) => return Err(error),
            Some(Ok(message)) => {
                let offset = u64::try_from(message.offset()).unwrap_or(0);
                if offset < end {
                    last = Some(offset);
                }
                if offset + 1 >= end {
                    return Ok(last);
                }
            }
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}

/// The number of a topic's partitions; 0 when the topic does not exist.
pub(crate) fn count_partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    wait: Duration,
) -> KafkaResult<u32> {
    let metadata = consumer.fetch_metadata(Some(topic), wait)?;
    let Some(found) = metadata.topics().first() else { return Ok(0) };
    match found.error().map(RDKafkaErrorCode::from) {
        Some(code) if crate::errors::kind(code) == Kind::NoTopic => Ok(0),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
        None => Ok(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX)),
    }
}

/// The commits of the consumer's group for these partitions.
pub(crate) fn committed<C: ConsumerContext + ClientContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
) -> KafkaResult<Vec<(TopicPartition, Option<Commit>)>> {
    let mut list = TopicPartitionList::new();
    for at in partitions {
        list.add_partition(&at.topic, number(at.partition));
    }
    let found = consumer.committed_offsets(list, REQUEST_WAIT)?;
    let mut commits = Vec::new();
    for element in found.elements() {
        element.error()?;
        let at = TopicPartition::new(element.topic(), u32::try_from(element.partition()).unwrap_or(0));
        let commit = match element.offset() {
            Offset::Offset(next) => {
                Some(Commit { next: u64::try_from(next).unwrap_or(0), metadata: element.metadata().to_owned() })
            }
            _ => None,
        };
        commits.push((at, commit));
    }
    Ok(commits)
}

/// The list that commits these offsets. As everywhere, a commit is the next offset to process.
pub(crate) fn with_commits(commits: &[(TopicPartition, Commit)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (at, commit) in commits {
        let mut element = list.add_partition(&at.topic, number(at.partition));
        element.set_offset(Offset::Offset(i64::try_from(commit.next).unwrap_or(i64::MAX)))?;
        element.set_metadata(&commit.metadata);
    }
    Ok(list)
}

/// The partitions in the list.
pub(crate) fn named(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let at = |partition: i32| u32::try_from(partition).unwrap_or(0);
    elements.iter().map(|element| TopicPartition::new(element.topic(), at(element.partition()))).collect()
}

/// A partition's number in librdkafka's type.
pub(crate) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}
