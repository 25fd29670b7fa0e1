//! Appends records with one idempotent producer, which is replaced when it fails for good.
//!
//! `FutureProducer` is not used: it sleeps when the queue is full, and senders can overtake one another. Here an
//! [`Intake`] with a lower bound keeps the queue from filling, and records are enqueued one by one under a lock.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventlog::intake::{Intake, Permit};
use eventlog::{AppendError, AppendObserver, AppendOutcome, AppendReceipt, LogError, NewRecord, Position};
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::config::KafkaConfig;
use crate::errors::{append_error, broken, transient};
use crate::statistics::Looks;
use crate::{context, threads};

/// Bytes in flight. With a kilobyte added for each record, this also bounds the number of records below
/// librdkafka's limit.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// How long closing waits for the records in flight.
const FLUSH_WAIT: Duration = Duration::from_secs(9);
/// How long opening waits for the producer's id.
const WARM_WAIT: Duration = Duration::from_secs(10);

/// Appends records.
pub(crate) struct Producer {
    config: KafkaConfig,
    intake: Intake,
    /// The current producer; `None` once closed.
    current: Mutex<Option<Epoch>>,
    /// The producers' threads.
    tasks: TaskTracker,
}

/// One librdkafka producer, from its creation to its failure or close.
struct Epoch {
    producer: Arc<BaseProducer<Deliveries>>,
    /// Each receipt holds a clone until it has been read.
    unread: Arc<dyn Any + Send + Sync>,
    /// Dropping it ends the producer's thread.
    _serve: watch::Sender<()>,
}

/// A record in librdkafka's queue.
struct InFlight {
    report: oneshot::Sender<Result<Position, AppendError>>,
    /// When the caller handed it over.
    begun: Instant,
    _permit: Permit,
}

/// Handles the results of deliveries and the errors of the producer.
struct Deliveries {
    /// Whether a record that is not delivered ends the producer, so that no later record is appended.
    gapless: bool,
    /// Whether the producer has failed and will deliver nothing any more.
    failed: AtomicBool,
    /// Whether the producer has its id, so that the first record need not wait for it.
    warm: watch::Sender<bool>,
    looks: Looks,
    /// Is told of every append.
    appends: AppendObserver,
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

    /// Enqueues a record for that partition.
    pub(crate) async fn enqueue(
        &self,
        topic: &str,
        partition: i32,
        record: &NewRecord,
    ) -> Result<AppendReceipt, AppendError> {
        let begun = Instant::now();
        let queued = self.queue(topic, partition, record, begun).await;
        if queued.is_err() {
            self.config.observers.appends.ended(topic, begun, AppendOutcome::Failed);
        }
        queued
    }

    async fn queue(
        &self,
        topic: &str,
        partition: i32,
        record: &NewRecord,
        begun: Instant,
    ) -> Result<AppendReceipt, AppendError> {
        let permit = self.intake.admit(record.bytes()).await?;
        let mut current = self.lock();
        let epoch = self.usable(&mut current)?;
        let (report, receipt) = AppendReceipt::holding(Arc::clone(&epoch.unread));
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(&value[..]) });
        }
        let message = BaseRecord::with_opaque_to(topic, Box::new(InFlight { report, begun, _permit: permit }))
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

    /// The current producer. One that failed is replaced once all its receipts have been read or dropped.
    fn usable<'a>(&self, current: &'a mut MutexGuard<'_, Option<Epoch>>) -> Result<&'a Epoch, AppendError> {
        let Some(epoch) = current.as_mut() else { return Err(AppendError::Closed) };
        if epoch.failed() {
            if Arc::strong_count(&epoch.unread) > 1 {
                return Err(AppendError::Fatal(Box::new(Failed::Unread)));
            }
            // The failed producer's thread purges, too, but up to a tenth of a second later: its remaining records
            // must not be appended after those of its successor, which are the same ones again.
            give_up(&epoch.producer);
            tracing::warn!("the kafka producer failed for good: a new one takes its place");
            *epoch = Epoch::begin(&self.config, &self.tasks).map_err(|error| AppendError::Fatal(Box::new(error)))?;
        }
        Ok(epoch)
    }

    /// Accepts no further record. Those in the queue are delivered by the producer's thread, within
    /// [`FLUSH_WAIT`].
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
        let looks = Looks::new(config.observers.producer.clone());
        let appends = config.observers.appends.clone();
        let context = Deliveries { gapless: config.is_gapless(), failed, warm, looks, appends };
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

/// Drops the remaining records without delivering them.
fn give_up(producer: &BaseProducer<Deliveries>) {
    producer.purge(PurgeConfig::default().queue().inflight());
}

/// Serves a producer's events until its epoch ends, then delivers the remaining records.
fn run(producer: &BaseProducer<Deliveries>, served: &watch::Receiver<()>) {
    let context = producer.client().context();
    let mut told = false;
    while served.has_changed().is_ok() {
        producer.poll(threads::PRODUCER_POLL_WAIT);
        let fatal = producer.client().fatal_error();
        if fatal.is_none() && !context.failed.load(Ordering::Acquire) {
            continue;
        }
        context.failed.store(true, Ordering::Release);
        if !std::mem::replace(&mut told, true) {
            tracing::error!(reason = ?fatal, "the kafka producer failed for good: what is in flight is given up");
        }
        // Repeat this at every turn: records that were enqueued meanwhile must not wait for ever.
        give_up(producer);
    }
    if context.failed.load(Ordering::Acquire) {
        // The producer failed during the last turn: its remaining records come after one that was not delivered.
        give_up(producer);
    }
    if let Err(error) = producer.flush(FLUSH_WAIT) {
        tracing::warn!(%error, "what was in flight when the log was closed may not be there");
    }
    // Dropping the producer answers the receipts that are still waiting.
}

impl Deliveries {
    /// The error for a record that was accepted and not delivered. When the broker refuses a record, librdkafka
    /// holds the later ones back; this handles all other reasons why a record may fail.
    fn undelivered(&self, topic: &str, error: KafkaError) -> AppendError {
        let fate = self.fate(topic, error.clone());
        let purged = [RDKafkaErrorCode::PurgeQueue, RDKafkaErrorCode::PurgeInflight];
        // A record that was purged before the producer failed was dropped by `close`.
        if !self.gapless || error.rdkafka_error_code().is_some_and(|code| purged.contains(&code)) {
            return fate;
        }
        self.failed.store(true, Ordering::Release);
        match fate {
            AppendError::TooLarge | AppendError::NoTopic(_) | AppendError::Fatal(_) | AppendError::Closed => fate,
            AppendError::Busy | AppendError::Unknown => AppendError::Fatal(Box::new(error)),
        }
    }

    /// The error for a failed record. A permanent error ends the producer.
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

/// A producer's own time says nothing about the log's.
fn acknowledged(timestamp: Timestamp) -> AppendOutcome {
    let append_time_ms = match timestamp {
        Timestamp::LogAppendTime(time_ms) => Some(time_ms),
        Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
    };
    AppendOutcome::Acknowledged { append_time_ms }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, in_flight: Box<InFlight>) {
        let fate = match result {
            Ok(message) => match (u32::try_from(message.partition()), u64::try_from(message.offset())) {
                (Ok(partition), Ok(offset)) => Ok(Position { partition, offset }),
                // The broker has the record already, but no longer knows its offset.
                _ => Err(AppendError::Unknown),
            },
            Err((error, message)) => Err(self.undelivered(message.topic(), error.clone())),
        };
        let (topic, outcome) = match result {
            Ok(message) if fate.is_ok() => (message.topic(), acknowledged(message.timestamp())),
            Ok(message) | Err((_, message)) => (message.topic(), AppendOutcome::Failed),
        };
        self.appends.ended(topic, in_flight.begun, outcome);
        // A caller that has stopped waiting does not need the answer.
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

    /// Only librdkafka's statistics show that the producer has its id.
    fn stats_raw(&self, statistics: &[u8]) {
        self.looks.look(statistics);
        if *self.warm.borrow() {
            return;
        }
        let state = std::str::from_utf8(statistics).ok().and_then(|text| text.split_once("\"idemp_state\""));
        if state.is_some_and(|(_, rest)| rest.trim_start_matches([':', ' ', '"']).starts_with("Assigned")) {
            self.warm.send_replace(true);
        }
    }
}
