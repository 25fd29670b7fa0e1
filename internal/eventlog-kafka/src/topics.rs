//! Creates topics and checks whether they can keep the log's promises.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use eventlog::{LogError, TopicFound};
use events::topics::{Lane, TopicSpec};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::{Instant, sleep};

use crate::config::{KafkaConfig, MESSAGE_BYTES_MAX};
use crate::context::Quiet;
use crate::errors::{Kind, broken, kind, log_error, transient};
use crate::requests::{REQUEST_WAIT, count_partitions};

/// How long a new topic may take until every broker knows it.
const CREATE_WAIT: Duration = Duration::from_secs(10);
/// The wait between two checks for a new topic.
const LOOK_WAIT: Duration = Duration::from_millis(20);
/// The replicas of each record, and the number that must have it before it is acknowledged.
const REPLICAS: i32 = 3;
const REPLICAS_IN_SYNC_MIN: i32 = 2;

/// Requests about topics.
pub(crate) struct Topics {
    admin: AdminClient<Quiet>,
    dev: bool,
}

impl Topics {
    pub(crate) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        let admin = AdminClient::from_config_and_context(&config.admin(), Quiet::default()).map_err(broken)?;
        Ok(Self { admin, dev: config.dev })
    }

    pub(crate) async fn describe(
        &self,
        consumer: &Arc<BaseConsumer<Quiet>>,
        spec: &TopicSpec,
    ) -> Result<Option<TopicFound>, LogError> {
        let (asking, name) = (Arc::clone(consumer), spec.name.clone());
        let metadata = tokio::task::spawn_blocking(move || asking.fetch_metadata(Some(&name), REQUEST_WAIT));
        let metadata = metadata.await.map_err(broken)?.map_err(|error| log_error(&spec.name, error))?;
        let Some(topic) = metadata.topics().first() else { return Ok(None) };
        match topic.error().map(RDKafkaErrorCode::from) {
            Some(code) if kind(code) == Kind::NoTopic => return Ok(None),
            Some(code) => return Err(log_error(&spec.name, KafkaError::MetadataFetch(code))),
            None => {}
        }
        let partitions = u32::try_from(topic.partitions().len()).map_err(broken)?;
        let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
        let settings = self.settings(&spec.name).await?;
        let mut found = TopicFound::compare(spec, partitions, settings.retention()?);
        if spec.lane == Lane::Lossy {
            return Ok(Some(found));
        }
        found.faults.extend(settings.faults(&spec.name));
        if !self.dev {
            found.faults.extend(settings.faults_in_production(&spec.name, replicas));
        }
        Ok(Some(found))
    }

    async fn settings(&self, topic: &str) -> Result<Settings, LogError> {
        let asked = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
        let answers = asked.map_err(|error| log_error(topic, error))?;
        let answer = answers.into_iter().next().ok_or_else(|| transient("no answer about the topic's settings"))?;
        let resource = answer.map_err(|code| log_error(topic, KafkaError::AdminOp(code)))?;
        Ok(Settings::read(&resource))
    }

    pub(crate) async fn create(&self, consumer: &Arc<BaseConsumer<Quiet>>, spec: &TopicSpec) -> Result<(), LogError> {
        let partitions = i32::try_from(spec.partitions).map_err(broken)?;
        let replicas = if self.dev { 1 } else { REPLICAS };
        // A lossy record should rather be lost than waited for.
        let durable = spec.lane == Lane::Durable;
        let in_sync = if self.dev || !durable { 1 } else { REPLICAS_IN_SYNC_MIN }.to_string();
        let unclean = (!durable).to_string();
        let retention_ms = spec.retention.map_or("-1".to_owned(), |time| time.as_millis().to_string());
        let message_bytes = MESSAGE_BYTES_MAX.to_string();
        let mut topic = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(replicas))
            .set("message.timestamp.type", "LogAppendTime")
            .set("cleanup.policy", "delete")
            .set("retention.ms", &retention_ms)
            .set("retention.bytes", "-1")
            .set("max.message.bytes", &message_bytes)
            .set("min.insync.replicas", &in_sync)
            .set("unclean.leader.election.enable", &unclean);
        if !durable && spec.retention.is_some() {
            // Kafka removes whole segments, once their newest record is too old; by default a segment is filled
            // for days.
            topic = topic.set("segment.ms", &retention_ms);
        }
        let asked = self.admin.create_topics([&topic], &options()).await;
        for answer in asked.map_err(|error| log_error(&spec.name, error))? {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(log_error(&spec.name, KafkaError::AdminOp(code))),
            }
        }
        // The controller has created the topic; the brokers learn of it with a delay.
        let deadline = Instant::now() + CREATE_WAIT;
        loop {
            let (asking, name) = (Arc::clone(consumer), spec.name.clone());
            let count = tokio::task::spawn_blocking(move || count_partitions(asking.as_ref(), &name, REQUEST_WAIT));
            match count.await.map_err(broken)? {
                Ok(count) if count > 0 => return Ok(()),
                _ if Instant::now() >= deadline => return Err(transient("the new topic does not show up")),
                _ => sleep(LOOK_WAIT).await,
            }
        }
    }
}

/// A topic's settings by name.
struct Settings(HashMap<String, String>);

impl Settings {
    fn read(resource: &ConfigResource) -> Self {
        let set = resource.entries.iter().filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)));
        Self(set.collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.get(name).parse().ok()
    }

    /// The retention; `None` for ever.
    fn retention(&self) -> Result<Option<Duration>, LogError> {
        let retention_ms = self.number("retention.ms").ok_or_else(|| transient("the topic's retention is not told"))?;
        Ok(u64::try_from(retention_ms).ok().map(Duration::from_millis))
    }

    /// The faults that no cluster may have.
    fn faults(&self, topic: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, wanted) in
            [("message.timestamp.type", "LogAppendTime"), ("cleanup.policy", "delete"), ("retention.bytes", "-1")]
        {
            if self.get(name) != wanted {
                faults.push(format!("{topic} has {name}={}, not {wanted}", self.get(name)));
            }
        }
        let bytes = self.number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        if bytes < MESSAGE_BYTES_MAX {
            faults.push(format!("{topic} has max.message.bytes={bytes}, not at least {MESSAGE_BYTES_MAX}"));
        }
        faults
    }

    /// The faults that are accepted on a development cluster, which has one broker.
    fn faults_in_production(&self, topic: &str, replicas: usize) -> Vec<String> {
        let mut faults = Vec::new();
        if i32::try_from(replicas).is_ok_and(|replicas| replicas < REPLICAS) {
            faults.push(format!("{topic} has {replicas} replicas, not at least {REPLICAS}"));
        }
        let in_sync = self.number("min.insync.replicas").unwrap_or(0);
        if in_sync < i64::from(REPLICAS_IN_SYNC_MIN) {
            faults.push(format!("{topic} has min.insync.replicas={in_sync}, not at least {REPLICAS_IN_SYNC_MIN}"));
        }
        if self.get("unclean.leader.election.enable") != "false" {
            faults.push(format!("{topic} has unclean.leader.election.enable=true, not false"));
        }
        faults
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CREATE_WAIT)).operation_timeout(Some(CREATE_WAIT))
}
