//! Writing to topics of the lossy lane: a producer of its own, so that what it has on its way takes no room in the queue of
//! what is durable, and no room on its connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventlog::{LogError, NewRecord};
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::KafkaConfig;
use crate::errors::broken;
use crate::{context, threads};

/// How long the producer's thread waits for events before it looks whether it is still needed.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// Sends lossy records. The producer is made for the first of them: most programs send none.
pub(crate) struct LossyProducer {
    config: KafkaConfig,
    producer: Mutex<Option<Arc<BaseProducer<Forgotten>>>>,
    /// Ends its thread.
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// What becomes of lossy records: nobody is told, and a log line says when that begins to go wrong.
struct Forgotten {
    /// Whether the last record was lost.
    loses: AtomicBool,
}

impl LossyProducer {
    pub(crate) fn new(config: KafkaConfig, closing: CancellationToken, tasks: TaskTracker) -> Self {
        Self { config, producer: Mutex::default(), closing, tasks }
    }

    /// Hands a record over, if there is room for it.
    pub(crate) fn send(&self, topic: &str, partition: i32, record: &NewRecord) -> bool {
        let Some(producer) = self.producer() else { return false };
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(&value[..]) });
        }
        let message =
            BaseRecord::to(topic).partition(partition).key(&record.key).payload(&record.payload[..]).headers(headers);
        producer.send(message).is_ok()
    }

    fn producer(&self) -> Option<Arc<BaseProducer<Forgotten>>> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closing.is_cancelled() {
            return None;
        }
        if producer.is_none() {
            *producer = self.begin().inspect_err(|error| tracing::warn!(%error, "no producer of lossy records")).ok();
        }
        producer.clone()
    }

    fn begin(&self) -> Result<Arc<BaseProducer<Forgotten>>, LogError> {
        let context = Forgotten { loses: AtomicBool::new(false) };
        let producer = BaseProducer::from_config_and_context(&self.config.lossy_producer(), context).map_err(broken)?;
        let producer = Arc::new(producer);
        let (serving, closing) = (Arc::clone(&producer), self.closing.clone());
        threads::spawn("kafka-lossy", &self.tasks, move || {
            while !closing.is_cancelled() {
                serving.poll(POLL_WAIT);
            }
            serving.purge(PurgeConfig::default().queue().inflight());
        })?;
        Ok(producer)
    }

    /// Takes nothing more, and gives up what is on its way.
    pub(crate) fn close(&self) {
        *self.producer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ProducerContext for Forgotten {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let lost = result.is_err();
        if self.loses.swap(lost, Ordering::Relaxed) != lost
            && let Err((error, _)) = result
        {
            tracing::warn!(%error, "lossy records are lost");
        }
    }
}

impl ClientContext for Forgotten {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka producer error");
    }
}
