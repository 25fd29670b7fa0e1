//! The consumers without their final write, in this process: storage judges every event and makes its rows, the fan-out
//! makes its delivery records, on the events of a real Kafka; what they make is dropped.
//!
//! ```text
//! consumers storage|fanout RESULTS
//! ```
//! Started by `bench`, with `KLATSCH_KAFKA` in the environment. Prints records per second, and microseconds of CPU time
//! of each, from the first record that was read to the last result. Fails when fewer results were made: timeline
//! entries, or delivery records.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use bench::processes::cpu_of;
use bench::progress;
use domain::Seq;
use environment::{Clock, Entropy};
use eventlog::wrapper::LogWrapper;
use eventlog::{
    AppendError, AppendReceipt, Commit, LogError, NewRecord, PartitionReader, Position, Record, SharedLog,
    TopicPartition,
};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use events::Codec;
use events::topics::{DELIVERIES, GROUP_FANOUT, MESSAGES, RECEIPTS, USERS, spec_of};
use kv::Database;
use process::{Metrics, Readiness};
use store::embedded::EmbeddedStore;
use store::tables::TIMELINE;
use store::wrapper::StoreWrapper;
use store::{Applied, CellWrites, SharedStore, Source, StoreError};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The run is void when nothing is made for this long before all is.
const QUIET: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

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
    let watched: SharedLog = Arc::new(Watched { inner: Arc::clone(&log), work: Arc::clone(&work) });
    let mut arguments = std::env::args().skip(1);
    let (what, results) = (arguments.next(), arguments.next().context("started by bench")?.parse()?);
    match what.as_deref() {
        Some("storage") => {
            let deps = storage::Deps::new(watched, store, codec, entropy, storage::StorageMetrics::new(&metrics));
            let running = storage::run(deps, Readiness::default(), stop);
            first(progress::applied(&inner, &ends), running).await?;
        }
        Some("fanout") => {
            begin_again(&log).await?;
            let deps = fanout::Deps::new(watched, store, codec, entropy, fanout::FanoutMetrics::new(&metrics));
            let running = fanout::run(deps, Readiness::default(), stop);
            // A commit passes over conversations that wait for facts: their records come later.
            let all = async {
                progress::delivered(&log, &ends).await?;
                work.reach(results).await
            };
            first(all, running).await?;
        }
        _ => bail!("started by bench"),
    }
    work.print(ends.iter().sum(), results)?;
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

/// When the first record was read and the last result made, and how many results there are.
#[derive(Default)]
struct Work(Mutex<Option<Made>>);

#[derive(Clone, Copy)]
struct Made {
    /// When the first record was read.
    first: Instant,
    /// The CPU time that the process had used by then: for connecting.
    before: Duration,
    last: Instant,
    results: u64,
}

impl Work {
    fn began(&self) {
        let cpu = || cpu_of(std::process::id()).unwrap_or_default();
        let now = Instant::now();
        self.locked().get_or_insert_with(|| Made { first: now, before: cpu(), last: now, results: 0 });
    }

    fn made(&self, results: u64) {
        if let Some(made) = &mut *self.locked() {
            (made.last, made.results) = (Instant::now(), made.results + results);
        }
    }

    /// Waits until so many results were made, or no more are.
    async fn reach(&self, expected: u64) -> Result<()> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let results = self.locked().map_or(0, |made| made.results);
            if results >= expected || since.elapsed() >= QUIET {
                return Ok(());
            }
            if results != last {
                (last, since) = (results, Instant::now());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn print(&self, records: u64, expected: u64) -> Result<()> {
        let cpu = cpu_of(std::process::id())?;
        let Made { first, before, last, results } = self.locked().context("nothing was read")?;
        // More are no loss: the fan-out begins with a tick in each delivery partition, and what is interrupted is made again.
        ensure!(results >= expected, "void: {expected} results were to be made, and {results} were");
        let (took, cpu, records) = (last - first, cpu - before, records as f64);
        println!("{} {}", records / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / records);
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Option<Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    async fn write(&self, writes: Vec<CellWrites>) -> Result<(), StoreError> {
        self.work.made(writes.iter().filter(|write| write.table().name == TIMELINE.name).count() as u64);
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

/// A log that says when the first event is read, and takes deliveries and forgets them.
struct Watched {
    inner: SharedLog,
    work: Arc<Work>,
}

#[async_trait]
impl LogWrapper for Watched {
    fn inner(&self) -> SharedLog {
        Arc::clone(&self.inner)
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let inner = self.inner.reader(topic, partition, from).await?;
        let work = Arc::clone(&self.work);
        Ok(if topic == MESSAGES { Box::new(WatchedReader { inner, work }) } else { inner })
    }

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        if topic != DELIVERIES {
            return self.inner.enqueue(topic, record).await;
        }
        self.work.made(1);
        let (report, receipt) = AppendReceipt::new();
        let _ = report.send(Ok(Position { partition: record.partition.unwrap_or_default(), offset: 0 }));
        Ok(receipt)
    }
}

struct WatchedReader {
    inner: Box<dyn PartitionReader>,
    work: Arc<Work>,
}

#[async_trait]
impl PartitionReader for WatchedReader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        let records = self.inner.next(records_max).await?;
        self.work.began();
        Ok(records)
    }
}

/// Sets the fan-out's positions to the beginning.
async fn begin_again(log: &SharedLog) -> Result<()> {
    let begin = Commit { next: 0, metadata: String::new() };
    let of = |topic: &'static str| (0..spec_of(topic).partitions).map(move |one| TopicPartition::new(topic, one));
    let commits: Vec<_> = [MESSAGES, RECEIPTS, USERS].into_iter().flat_map(of).map(|at| (at, begin.clone())).collect();
    Ok(log.commit_offline(GROUP_FANOUT, &commits).await?)
}
