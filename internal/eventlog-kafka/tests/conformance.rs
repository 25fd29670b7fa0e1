//! The log on a real Kafka passes the conformance suite.
//!
//! Runs when `KLATSCH_TEST_SERVERS=1`, on the broker that `KLATSCH_TEST_KAFKA` names; `KLATSCH_TEST_CASE` selects
//! the cases whose names contain it.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use eventlog::SharedLog;
use eventlog::conformance::{CASES, Case, Factory};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// Concurrent cases: most of them wait for the broker.
const AT_ONCE: usize = 4;

struct Kafka {
    bootstrap: String,
}

#[async_trait]
impl Factory for Kafka {
    async fn open(&self) -> SharedLog {
        let mut config = KafkaConfig::new(&self.bootstrap, "conformance");
        config.dev = true;
        config.delivery_timeout = Some(Duration::from_secs(10));
        KafkaLog::connect(config).await.unwrap()
    }

    async fn reopen(&self, log: SharedLog) -> SharedLog {
        log.close().await;
        self.open().await
    }

    async fn trim(&self, log: &SharedLog, topic: &str) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().unwrap();
        let newest = log.watermarks(topic, 0).await.unwrap().next - 1;
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, 0, Offset::Offset(i64::try_from(newest).unwrap())).unwrap();
        admin.delete_records(&before, &AdminOptions::new()).await.unwrap();
    }

    fn run_name(&self) -> String {
        // A broker may still have the topics of earlier runs.
        format!("{}", std::process::id())
    }
}

fn run(case: &Case, bootstrap: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let factory = Kafka { bootstrap: bootstrap.to_owned() };
        (case.run)(&factory).await;
    });
    runtime.shutdown_background();
}

#[test]
fn on_a_real_broker() {
    if std::env::var("KLATSCH_TEST_SERVERS").as_deref() != Ok("1") {
        println!("skipped: set KLATSCH_TEST_SERVERS=1 and KLATSCH_TEST_KAFKA=host:port, or run .ci/run");
        return;
    }
    let bootstrap = std::env::var("KLATSCH_TEST_KAFKA").expect("KLATSCH_TEST_KAFKA names a broker: host:port");
    let wanted = std::env::var("KLATSCH_TEST_CASE").unwrap_or_default();
    let queue = Mutex::new(CASES.iter().filter(|case| case.name.contains(&wanted)));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().next() else { return };
                    let started = tokio::time::Instant::now();
                    let passed = std::panic::catch_unwind(|| run(case, &bootstrap)).is_ok();
                    println!("{}: {} ({:.1?})", case.name, if passed { "ok" } else { "FAILED" }, started.elapsed());
                    if !passed {
                        failed.lock().unwrap().push(case.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed: {failed:#?}");
}
