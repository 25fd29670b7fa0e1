//! The consumers without their final write, in this process: storage judges every event and makes its rows, the fan-out
//! makes its delivery records, on the events of a real Kafka; what they make is dropped.
//!
//! ```text
//! consumers storage|fanout
//! ```
//! Started by `bench`, with `KLATSCH_KAFKA` in the environment. Prints records per second, and microseconds of CPU time
//! of each.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use bench::processes::cpu_of;
use bench::progress;
use domain::Seq;
use environment::{Clock, Entropy};
use eventlog::wrapper::LogWrapper;
use eventlog::{AppendError, AppendReceipt, Commit, NewRecord, Position, SharedLog, TopicPartition};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use events::Codec;
use events::topics::{DELIVERIES, GROUP_FANOUT, MESSAGES, RECEIPTS, USERS, spec_of};
use kv::Database;
use process::{Metrics, Readiness};
use store::embedded::EmbeddedStore;
use store::wrapper::StoreWrapper;
use store::{Applied, CellWrites, SharedStore, Source, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// As in the consumers' programs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = std::env::var("KLATSCH_KAFKA").context("KLATSCH_KAFKA")?;
    let log = KafkaLog::connect(KafkaConfig { dev: true, ..KafkaConfig::new(kafka, "bench-consumers") }).await?;
    let (work, stop) = (Arc::new(Work::default()), CancellationToken::new());
    let inner: SharedStore = EmbeddedStore::open(Database::in_memory(), Clock::system()).await?;
    let store: SharedStore = Arc::new(Unwritten { inner: Arc::clone(&inner), work: Arc::clone(&work) });
    let (codec, entropy, metrics) = (Codec::compiled_in(), Entropy::system(), Metrics::new());
    let ends = progress::ends(&log, MESSAGES).await?;
    match std::env::args().nth(1).as_deref() {
        Some("storage") => {
            let deps =
                storage::Deps::new(Arc::clone(&log), store, codec, entropy, storage::StorageMetrics::new(&metrics));
            let running = storage::run(deps, Readiness::default(), stop);
            first(progress::applied(&inner, &ends), running).await?;
        }
        Some("fanout") => {
            begin_again(&log).await?;
            let dropping: SharedLog = Arc::new(Undelivered { inner: Arc::clone(&log), work: Arc::clone(&work) });
            let deps = fanout::Deps::new(dropping, store, codec, entropy, fanout::FanoutMetrics::new(&metrics));
            let running = fanout::run(deps, Readiness::default(), stop);
            first(progress::delivered(&log, &ends), running).await?;
        }
        _ => bail!("started by bench"),
    }
    work.print(ends.iter().sum())?;
    // Leaves the group: the next round sets its positions.
    log.close().await;
    Ok(())
}

/// Waits until the end is reached, while the consumer runs in a task of its own.
async fn first<E>(
    reached: impl Future<Output = Result<()>>,
    running: impl Future<Output = Result<(), E>> + Send + 'static,
) -> Result<()>
where
    E: Display + Send + 'static,
{
    tokio::select! {
        reached = reached => reached,
        ended = tokio::spawn(running) => match ended? {
            Ok(()) => bail!("the consumer ended by itself"),
            Err(error) => bail!("the consumer ended: {error}"),
        },
    }
}

/// When the first and the last result was made.
#[derive(Default)]
struct Work(Mutex<Option<Made>>);

#[derive(Clone, Copy)]
struct Made {
    first: Instant,
    /// The CPU time that the process had used by then: for connecting.
    before: Duration,
    last: Instant,
}

impl Work {
    fn made(&self) {
        let (now, mut made) = (Instant::now(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let cpu = || cpu_of(std::process::id()).unwrap_or_default();
        made.get_or_insert_with(|| Made { first: now, before: cpu(), last: now }).last = now;
    }

    fn print(&self, records: u64) -> Result<()> {
        let cpu = cpu_of(std::process::id())?;
        let made = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Made { first, before, last } = made.context("nothing was made")?;
        let (took, cpu, records) = (last - first, cpu - before, records as f64);
        println!("{} {}", records / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / records);
        Ok(())
    }
}

/// A store that takes rows and forgets them. Conversations that begin in the log are judged from memory.
struct Unwritten {
    inner: SharedStore,
    work: Arc<Work>,
}

#[async_trait]
impl StoreWrapper for Unwritten {
    fn inner(&self) -> SharedStore {
        Arc::clone(&self.inner)
    }

    async fn write(&self, _: Vec<CellWrites>) -> Result<(), StoreError> {
        self.work.made();
        Ok(())
    }

    async fn write_and_apply(
        &self,
        writes: Vec<CellWrites>,
        source: Source,
        applied: Applied,
    ) -> Result<(), StoreError> {
        StoreWrapper::write(self, writes).await?;
        StoreWrapper::set_applied(self, source, applied).await
    }

    /// A consumer works on one incarnation.
    async fn at(&self, incarnation: u32) -> Result<SharedStore, StoreError> {
        let inner = self.inner.at(incarnation).await?;
        Ok(Arc::new(Self { inner, work: Arc::clone(&self.work) }))
    }

    /// The fan-out would wait for a storage consumer.
    async fn wait_applied(&self, _: Source, _: Seq, _: Duration) -> Result<bool, StoreError> {
        Ok(true)
    }
}

/// A log that takes deliveries and forgets them.
struct Undelivered {
    inner: SharedLog,
    work: Arc<Work>,
}

#[async_trait]
impl LogWrapper for Undelivered {
    fn inner(&self) -> SharedLog {
        Arc::clone(&self.inner)
    }

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        if topic != DELIVERIES {
            return self.inner.enqueue(topic, record).await;
        }
        self.work.made();
        let (report, receipt) = AppendReceipt::new();
        let _ = report.send(Ok(Position { partition: record.partition.unwrap_or_default(), offset: 0 }));
        Ok(receipt)
    }
}

/// Sets the fan-out's positions to the beginning.
async fn begin_again(log: &SharedLog) -> Result<()> {
    let begin = Commit { next: 0, metadata: String::new() };
    let of = |topic: &'static str| (0..spec_of(topic).partitions).map(move |one| TopicPartition::new(topic, one));
    let commits: Vec<_> = [MESSAGES, RECEIPTS, USERS].into_iter().flat_map(of).map(|at| (at, begin.clone())).collect();
    Ok(log.commit_offline(GROUP_FANOUT, &commits).await?)
}
