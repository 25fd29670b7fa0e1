//! The consumers without their final write, in this process: storage judges every event and makes its rows, the fan-out
//! makes its delivery records, on the events of a real Kafka; what they make is dropped.
//!
//! ```text
//! consumers storage|fanout
//! ```
//! Started by `bench`, with `KLATSCH_KAFKA` in the environment. Prints records per second, and microseconds of CPU time
//! of each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use bench::processes::cpu_of;
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
use store::{CellWrites, SharedStore, Source, StoreError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// As in the consumers' programs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The run fails when the end is not reached within this time.
const DONE_WITHIN: Duration = Duration::from_secs(1_800);
/// How often commits are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = std::env::var("KLATSCH_KAFKA").context("KLATSCH_KAFKA")?;
    let log = KafkaLog::connect(KafkaConfig { dev: true, ..KafkaConfig::new(kafka, "bench-consumers") }).await?;
    let (work, stop) = (Arc::new(Work::default()), CancellationToken::new());
    let inner: SharedStore = EmbeddedStore::open(Database::in_memory(), Clock::system()).await?;
    let store: SharedStore = Arc::new(Unwritten { inner: Arc::clone(&inner), work: Arc::clone(&work) });
    let (codec, entropy, metrics) = (Codec::compiled_in(), Entropy::system(), Metrics::new());
    match std::env::args().nth(1).as_deref() {
        Some("storage") => {
            let deps = storage::Deps::new(log.clone(), store, codec, entropy, storage::StorageMetrics::new(&metrics));
            let running = tokio::spawn(storage::run(deps, Readiness::default(), stop.clone()));
            applied(&log, &inner).await?;
            work.print(records(&log).await?)?;
            stop.cancel();
            running.await?.map_err(anyhow::Error::from_boxed)
        }
        Some("fanout") => {
            begin_again(&log).await?;
            let dropping: SharedLog = Arc::new(Undelivered { inner: log.clone(), work: Arc::clone(&work) });
            let deps = fanout::Deps::new(dropping, store, codec, entropy, fanout::FanoutMetrics::new(&metrics));
            let running = tokio::spawn(fanout::run(deps, Readiness::default(), stop.clone()));
            committed(&log).await?;
            work.print(records(&log).await?)?;
            stop.cancel();
            running.await?.map_err(anyhow::Error::from_boxed)
        }
        _ => bail!("started by bench"),
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

/// The records of `chat.messages`.
async fn records(log: &SharedLog) -> Result<u64> {
    let mut records = 0;
    for partition in 0..spec_of(MESSAGES).partitions {
        records += log.watermarks(MESSAGES, partition).await?.next;
    }
    Ok(records)
}

async fn applied(log: &SharedLog, store: &SharedStore) -> Result<()> {
    for partition in 0..spec_of(MESSAGES).partitions {
        let last = log.watermarks(MESSAGES, partition).await?.next - 1;
        let (source, seq) = (Source { topic: MESSAGES, partition }, Seq::new(spec_of(MESSAGES).generation, last)?);
        anyhow::ensure!(store.wait_applied(source, seq, DONE_WITHIN).await?, "void: the end was not reached");
    }
    Ok(())
}

/// Sets the fan-out's positions to the beginning.
async fn begin_again(log: &SharedLog) -> Result<()> {
    let begin = Commit { next: 0, metadata: String::new() };
    let of = |topic: &'static str| (0..spec_of(topic).partitions).map(move |one| TopicPartition::new(topic, one));
    let commits: Vec<_> = [MESSAGES, RECEIPTS, USERS].into_iter().flat_map(of).map(|at| (at, begin.clone())).collect();
    Ok(log.commit_offline(GROUP_FANOUT, &commits).await?)
}

async fn committed(log: &SharedLog) -> Result<()> {
    let begun = Instant::now();
    for partition in 0..spec_of(MESSAGES).partitions {
        let (at, end) = (TopicPartition::new(MESSAGES, partition), log.watermarks(MESSAGES, partition).await?.next);
        while log.committed(GROUP_FANOUT, &at).await?.is_none_or(|commit| commit.next < end) {
            anyhow::ensure!(begun.elapsed() < DONE_WITHIN, "void: the end was not reached");
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}
