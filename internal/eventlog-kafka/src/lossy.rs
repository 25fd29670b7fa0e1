//! The producer for topics of the lossy lane. It is separate, so that its records take no space in the queue of
//! durable records and no time on their connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

/// Sends lossy records. The producer is created for the first of them, because most programs send none.
pub(crate) struct LossyProducer {
    config: KafkaConfig,
    producer: Mutex<Option<Arc<BaseProducer<Forgotten>>>>,
    /// Ends its thread.
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// Handles the fate of lossy records: callers do not learn it, and a log line says when losses begin.
struct Forgotten {
    /// Whether the last record was lost.
    loses: AtomicBool,
}

impl LossyProducer {
    pub(crate) fn new(config: KafkaConfig, closing: CancellationToken, tasks: TaskTracker) -> Self {
        Self { config, producer: Mutex::default(), closing, tasks }
    }

    /// Enqueues a record, if there is room for it.
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
                serving.poll(threads::PRODUCER_POLL_WAIT);
            }
            serving.purge(PurgeConfig::default().queue().inflight());
        })?;
        Ok(producer)
    }

    /// Accepts no further record and drops those in flight.
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
