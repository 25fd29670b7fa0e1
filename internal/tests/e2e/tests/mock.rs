//! All services in this process on librdkafka's mock broker, which answers one request in a hundred with an error:
//! not the leader, not enough replicas, timed out, the coordinator has moved. Under load, compared by the journal
//! oracle.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use auth::{EndedSessions, KeyRing, SigningKey, Verifier};
use backends::EngineMetrics;
use environment::{Clock, Entropy};
use eventlog::SharedLog;
use eventlog_kafka::mock::MockBroker;
use eventlog_kafka::{KafkaConfig, KafkaLog, KafkaObservers};
use events::Codec;
use events::topics;
use process::{Metrics, Readiness, Serving, Tasks};
use store::SharedStore;
use store::embedded::EmbeddedStore;
use testkit::device::Endpoints;
use testkit::engines::{Engines, lay_out};
use testkit::load::{LoadConfig, World};
use testkit::runs::{self, Harmed};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use workload::Random;

/// One request in so many fails.
const FAILS_ONE_OF: u64 = 100;
/// How long the metrics may take to show that everything was read.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);
/// More requests of each kind than the test sends.
const REQUESTS: usize = 50_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_fails_one_request_in_a_hundred_loses_doubles_and_reorders_nothing() -> Result<()> {
    let broker = MockBroker::start(topics::all())?;
    let (codec, entropy) = (Codec::compiled_in(), Entropy::system());
    let log = connect(&broker, "oracle", None, KafkaObservers::default()).await?;
    lay_out(&log, &codec, &entropy).await?;
    let store: SharedStore = EmbeddedStore::open(kv::Database::in_memory(), Clock::system()).await?;
    let mut running = Running::start(&broker, &store, &codec).await?;

    let mut random = Random::new(7);
    broker.trouble(REQUESTS, || (random.below(FAILS_ONE_OF) == 0).then(|| random.bits() as usize >> 1));
    // The load lasts ten seconds, so that heartbeats and commits meet errors, too.
    let config = LoadConfig {
        users: 8,
        conversations: 16,
        members_max: 6,
        messages: 3_000,
        rate: Some(400),
        ..LoadConfig::default()
    };
    let no_harm = async |_: &World| Ok(Harmed::default());
    let (mut world, mut report) = runs::talk(&running.endpoints, config, no_harm).await?;
    broker.calm();
    let engines = Engines { log, store, codec };
    runs::judge(&engines, &mut world, &mut report).await?;
    println!("{report}");
    report.verdict.demand_zero()?;
    let metrics = running.caught_up().await?;
    for line in ["klatsch_kafka_brokers 1", "klatsch_kafka_brokers_up 1"] {
        ensure!(metrics.lines().any(|shown| shown == line), "{line} is not in {metrics}");
    }
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).and_then(|value| value.trim().parse().ok());
        line.with_context(|| format!("{name} is not in {metrics}"))
    };
    let appended: u64 = value("klatsch_append_seconds_count{topic=\"chat.messages\"}")?;
    let fetched: u64 = value("klatsch_kafka_reader_records_total{topic=\"chat.deliveries\"}")?;
    ensure!(appended > 1_000 && fetched > 1_000, "{appended} appended, {fetched} fetched: {metrics}");
    running.stop().await?;
    engines.close().await;
    Ok(())
}

async fn connect(
    broker: &MockBroker,
    name: &str,
    delivery_timeout: Option<Duration>,
    observers: KafkaObservers,
) -> Result<SharedLog> {
    let config = KafkaConfig {
        dev: true,
        observers,
        delivery_timeout,
        session_timeout: Duration::from_secs(6),
        requests_in_flight: 1,
        ..KafkaConfig::new(broker.bootstrap(), name)
    };
    KafkaLog::connect(config).await.context("connecting to the mock broker")
}

/// All services, with the connections of three processes: one that serves clients, and two with consumers.
struct Running {
    endpoints: Endpoints,
    stop: CancellationToken,
    /// The metrics of the first one's connection.
    metrics: Metrics,
    parts: Vec<(SharedLog, JoinHandle<Result<()>>)>,
}

impl Running {
    async fn start(broker: &MockBroker, store: &SharedStore, codec: &Codec) -> Result<Self> {
        let stop = CancellationToken::new();
        let metrics = Metrics::new();
        let observers = EngineMetrics::new(&metrics).kafka();
        let front = connect(broker, "front", Some(Duration::from_secs(10)), observers).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let endpoints = Endpoints { users: url.clone(), chat: vec![url.clone()], sockets: vec![url] };
        let mut tasks = Tasks::new(Readiness::default());
        serve(&mut tasks, listener, &front, store, codec)?;
        let mut parts = vec![(front, run(tasks, &stop))];
        // Two consumers, so that partitions are reassigned.
        for name in ["consumers-0", "consumers-1"] {
            let log = connect(broker, name, None, KafkaObservers::default()).await?;
            let mut tasks = Tasks::new(Readiness::default());
            consume(&mut tasks, &log, store, codec);
            parts.push((log, run(tasks, &stop)));
        }
        Ok(Self { endpoints, stop, metrics, parts })
    }

    /// Waits until the metrics show that every delivery was read, and returns them. They change every five seconds.
    async fn caught_up(&self) -> Result<String> {
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            let metrics = self.metrics.text();
            let name = "klatsch_kafka_reader_lag_records{topic=\"chat.deliveries\"";
            let lags: Vec<&str> = metrics.lines().filter(|line| line.starts_with(name)).collect();
            if !lags.is_empty() && lags.iter().all(|line| line.ends_with(" 0")) {
                return Ok(metrics);
            }
            ensure!(Instant::now() < deadline, "not read to the end: {metrics}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops everything in order. Nothing may have ended by itself before.
    async fn stop(&mut self) -> Result<()> {
        ensure!(self.parts.iter().all(|(_, part)| !part.is_finished()), "a part has ended by itself");
        self.stop.cancel();
        for (log, part) in self.parts.drain(..) {
            part.await??;
            log.close().await;
        }
        Ok(())
    }
}

fn run(tasks: Tasks, stop: &CancellationToken) -> JoinHandle<Result<()>> {
    let stop = stop.clone();
    tokio::spawn(async move { Ok(tasks.run(stop).await?) })
}

/// Serves users, chat and sockets on one listener.
fn serve(tasks: &mut Tasks, listener: TcpListener, log: &SharedLog, store: &SharedStore, codec: &Codec) -> Result<()> {
    let (log, store, codec) = (Arc::clone(log), Arc::clone(store), codec.clone());
    let (clock, entropy, metrics, readiness) =
        (Clock::system(), Entropy::system(), Metrics::new(), Readiness::default());
    let keys = KeyRing::of(SigningKey::generate(&entropy)?, &clock, &entropy)?;
    let ended = EndedSessions::default();
    let verifier = Verifier::of_ring(keys.clone(), clock.clone()).without(ended.clone());
    let serving = Serving::new(entropy.clone(), readiness.clone(), metrics.clone());
    let deps = users::Deps {
        store: store.clone(),
        log: log.clone(),
        codec: codec.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        keys,
        ended,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
    };
    let mut router = users::start(&users::Config::default(), deps, tasks)?;
    let deps = chat::Deps {
        log: log.clone(),
        store: store.clone(),
        codec: codec.clone(),
        clock: clock.clone(),
        verifier: verifier.clone(),
        serving: serving.clone(),
    };
    router = router.merge(chat::start(&chat::Config::default(), &deps, tasks));
    let deps = sockets::Deps { log, store, codec, verifier, clock, entropy, readiness, metrics };
    let (routes, open) = sockets::start(sockets::Config::default(), deps, tasks);
    router = router.merge(routes);
    tasks.spawn("http server", |token| process::serve(listener, router, serving, token));
    tasks.spawn("sockets", |token| open.drain(token));
    Ok(())
}

fn consume(tasks: &mut Tasks, log: &SharedLog, store: &SharedStore, codec: &Codec) {
    let (metrics, entropy) = (Metrics::new(), Entropy::system());
    let counters = storage::StorageMetrics::new(&metrics);
    let deps = storage::Deps::new(log.clone(), store.clone(), codec.clone(), entropy.clone(), counters);
    tasks.spawn("storage", |token| storage::run(deps, Readiness::default(), token));
    let counters = fanout::FanoutMetrics::new(&metrics);
    let deps = fanout::Deps::new(log.clone(), store.clone(), codec.clone(), entropy, counters);
    tasks.spawn("fan-out", |token| fanout::run(deps, Readiness::default(), token));
}
