//! The writing side: one idempotent producer, replaced when it fails for good.
//!
//! `FutureProducer` is not used: it sleeps when the queue is full, and senders can overtake one another. Here an
//! [`Intake`] below the queue's bounds keeps it from filling, and records are handed over one by one under a lock.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventlog::intake::{Intake, Permit};
use eventlog::{AppendError, AppendReceipt, LogError, NewRecord, Position};
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::config::KafkaConfig;
use crate::errors::{append_error, broken, transient};
use crate::{context, threads};

/// Bytes in flight. With a kilobyte for each record this is also below the records of librdkafka's queue.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// How long a producer's thread waits for events before it looks whether it is still needed.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// How long the end waits for what is in flight.
const FLUSH_WAIT: Duration = Duration::from_secs(9);
/// How long opening waits for the producer's id.
const WARM_WAIT: Duration = Duration::from_secs(10);

/// Appends records.
pub(crate) struct Producer {
    config: KafkaConfig,
    intake: Intake,
    /// The producer of now; `None` once closed.
    current: Mutex<Option<Epoch>>,
    /// The producers' threads.
    tasks: TaskTracker,
}

/// One producer's life.
struct Epoch {
    producer: Arc<BaseProducer<Deliveries>>,
    /// Held by each of its receipts until it is read.
    unread: Arc<dyn Any + Send + Sync>,
    /// Ends its thread when dropped.
    _serve: watch::Sender<()>,
}

/// A record that librdkafka has.
struct InFlight {
    report: oneshot::Sender<Result<Position, AppendError>>,
    _permit: Permit,
}

/// What becomes of records, and of the producer.
struct Deliveries {
    /// Any record that is not delivered ends it, so that none behind it is.
    gapless: bool,
    /// It will not deliver anything any more.
    failed: AtomicBool,
    /// It has its id: the first record need not wait for one.
    warm: watch::Sender<bool>,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the producer failed and its receipts have not all been read yet")]
    Unread,
    #[error("no broker assigned an id to the producer in time")]
    Cold,
}

impl Producer {
    /// A producer that is ready to deliver.
    pub(crate) async fn open(config: KafkaConfig, tasks: TaskTracker) -> Result<Self, LogError> {
        let epoch = Epoch::begin(&config, &tasks)?;
        let mut warm = epoch.producer.client().context().warm.subscribe();
        let warmed = timeout(WARM_WAIT, warm.wait_for(|warm| *warm)).await;
        warmed.map_err(|_| transient(Failed::Cold))?.map_err(broken)?;
        Ok(Self { config, intake: Intake::new(IN_FLIGHT_BYTES_MAX), current: Mutex::new(Some(epoch)), tasks })
    }

    /// Hands over a record for exactly that partition.
    pub(crate) async fn enqueue(
        &self,
        topic: &str,
        partition: i32,
        record: &NewRecord,
    ) -> Result<AppendReceipt, AppendError> {
        let permit = self.intake.admit(record.bytes()).await?;
        let mut current = self.lock();
        let epoch = self.usable(&mut current)?;
        let (report, receipt) = AppendReceipt::holding(Arc::clone(&epoch.unread));
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(&value[..]) });
        }
        let message = BaseRecord::with_opaque_to(topic, Box::new(InFlight { report, _permit: permit }))
            .partition(partition)
            .key(&record.key)
            .payload(&record.payload[..])
            .headers(headers);
        match epoch.producer.send(message) {
            Ok(()) => Ok(receipt),
            Err((error, _record)) => {
                let context = epoch.producer.client().context();
                Err(context.fate(topic, error))
            }
        }
    }

    /// The producer of now. One that failed is replaced once all who wrote through it have heard of it.
    fn usable<'a>(&self, current: &'a mut MutexGuard<'_, Option<Epoch>>) -> Result<&'a Epoch, AppendError> {
        let Some(epoch) = current.as_mut() else { return Err(AppendError::Closed) };
        if epoch.failed() {
            if Arc::strong_count(&epoch.unread) > 1 {
                return Err(AppendError::Fatal(Box::new(Failed::Unread)));
            }
            // Its thread does so too, up to a tenth of a second later: what it has left must not get there behind what its
            // successor writes, which is the same again.
            give_up(&epoch.producer);
            tracing::warn!("the kafka producer failed for good: a new one takes its place");
            *epoch = Epoch::begin(&self.config, &self.tasks).map_err(|error| AppendError::Fatal(Box::new(error)))?;
        }
        Ok(epoch)
    }

    /// Takes nothing more. What was taken is delivered by the producer's thread, within [`FLUSH_WAIT`].
    pub(crate) fn close(&self) {
        self.intake.close();
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Epoch>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Epoch {
    fn begin(config: &KafkaConfig, tasks: &TaskTracker) -> Result<Self, LogError> {
        let (failed, warm) = (AtomicBool::new(false), watch::Sender::new(false));
        let context = Deliveries { gapless: config.is_gapless(), failed, warm };
        let producer = BaseProducer::from_config_and_context(&config.producer(), context).map_err(broken)?;
        let producer = Arc::new(producer);
        let (serve, served) = watch::channel(());
        let serving = Arc::clone(&producer);
        threads::spawn("kafka-producer", tasks, move || run(&serving, &served))?;
        Ok(Self { producer, unread: Arc::new(()), _serve: serve })
    }

    fn failed(&self) -> bool {
        self.producer.client().context().failed.load(Ordering::Acquire)
    }
}

/// Delivers nothing of what is left.
fn give_up(producer: &BaseProducer<Deliveries>) {
    producer.purge(PurgeConfig::default().queue().inflight());
}

/// Serves a producer's events until its epoch ends, then delivers what is left.
fn run(producer: &BaseProducer<Deliveries>, served: &watch::Receiver<()>) {
    let context = producer.client().context();
    let mut told = false;
    while served.has_changed().is_ok() {
        producer.poll(POLL_WAIT);
        let fatal = producer.client().fatal_error();
        if fatal.is_none() && !context.failed.load(Ordering::Acquire) {
            continue;
        }
        context.failed.store(true, Ordering::Release);
        if !std::mem::replace(&mut told, true) {
            tracing::error!(reason = ?fatal, "the kafka producer failed for good: what is in flight is given up");
        }
        // Again at every turn: what was handed over meanwhile must not wait for ever.
        give_up(producer);
    }
    if context.failed.load(Ordering::Acquire) {
        // Within the last turn: what is left stands behind what was not delivered.
        give_up(producer);
    }
    if let Err(error) = producer.flush(FLUSH_WAIT) {
        tracing::warn!(%error, "what was in flight when the log was closed may not be there");
    }
    // Dropped here at the latest, which answers what is still waiting.
}

impl Deliveries {
    /// What a record is told that was taken and was not delivered. librdkafka keeps those behind it back where the
    /// broker refused it; this is for whatever else may make a record fail.
    fn undelivered(&self, topic: &str, error: KafkaError) -> AppendError {
        let fate = self.fate(topic, error.clone());
        let purged = [RDKafkaErrorCode::PurgeQueue, RDKafkaErrorCode::PurgeInflight];
        // What is purged before the producer has failed is given up because it ends.
        if !self.gapless || error.rdkafka_error_code().is_some_and(|code| purged.contains(&code)) {
            return fate;
        }
        self.failed.store(true, Ordering::Release);
        match fate {
            AppendError::TooLarge | AppendError::NoTopic(_) | AppendError::Fatal(_) | AppendError::Closed => fate,
            AppendError::Busy | AppendError::Unknown => AppendError::Fatal(Box::new(error)),
        }
    }

    /// What a failed record is told. An error that lasts ends the producer.
    fn fate(&self, topic: &str, error: KafkaError) -> AppendError {
        use RDKafkaErrorCode as Code;
        let failed = self.failed.load(Ordering::Acquire);
        match error.rdkafka_error_code() {
            Some(Code::PurgeQueue | Code::PurgeInflight) if !failed => AppendError::Unknown,
            Some(Code::Fatal | Code::PurgeQueue | Code::PurgeInflight) => {
                self.failed.store(true, Ordering::Release);
                AppendError::Fatal(Box::new(error))
            }
            _ => {
                let fate = append_error(topic, error);
                if matches!(fate, AppendError::Fatal(_)) {
                    self.failed.store(true, Ordering::Release);
                }
                fate
            }
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, in_flight: Box<InFlight>) {
        let fate = match result {
            Ok(message) => match (u32::try_from(message.partition()), u64::try_from(message.offset())) {
                (Ok(partition), Ok(offset)) => Ok(Position { partition, offset }),
                // The broker had it already and no longer knows where.
                _ => Err(AppendError::Unknown),
            },
            Err((error, message)) => Err(self.undelivered(message.topic(), error.clone())),
        };
        // Who does not wait for an answer any more does not need it.
        let _ = in_flight.report.send(fate);
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.failed.store(true, Ordering::Release);
        }
        tracing::debug!(%error, reason, "kafka producer error");
    }

    /// librdkafka says nowhere else that the producer has its id.
    fn stats_raw(&self, statistics: &[u8]) {
        if *self.warm.borrow() {
            return;
        }
        let state = std::str::from_utf8(statistics).ok().and_then(|text| text.split_once("\"idemp_state\""));
        if state.is_some_and(|(_, rest)| rest.trim_start_matches([':', ' ', '"']).starts_with("Assigned")) {
            self.warm.send_replace(true);
        }
    }
}
