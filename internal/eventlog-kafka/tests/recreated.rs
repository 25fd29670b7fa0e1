//! A topic that is deleted and re-created while it is read and written, on a real Kafka (see `conformance.rs`).

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use eventlog::{AppendError, LogError, NewRecord, SharedLog, append};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use events::topics::{Lane, TopicSpec};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

fn record(number: u32) -> NewRecord {
    let payload = Bytes::copy_from_slice(&number.to_be_bytes());
    NewRecord { key: "key".into(), partition: None, headers: Vec::new(), payload }
}

async fn connect(bootstrap: &str) -> SharedLog {
    let mut config = KafkaConfig::new(bootstrap, "recreated");
    config.dev = true;
    config.delivery_timeout = Some(Duration::from_secs(10));
    KafkaLog::connect(config).await.unwrap()
}

async fn delete(bootstrap: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    for deleted in admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
        deleted.unwrap();
    }
}

/// Interleavings 10 and 19 (`sim/README.md`): no reader continues as if it were the same topic.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_reader_notices_and_a_running_writer_goes_on() {
    if std::env::var("KLATSCH_TEST_SERVERS").as_deref() != Ok("1") {
        println!("skipped: set KLATSCH_TEST_SERVERS=1 and KLATSCH_TEST_KAFKA=host:port, or run .ci/run");
        return;
    }
    let bootstrap = std::env::var("KLATSCH_TEST_KAFKA").expect("KLATSCH_TEST_KAFKA names a broker: host:port");
    let log = connect(&bootstrap).await;
    let name = format!("recreated-{}", std::process::id());
    let topic = TopicSpec { name: name.clone(), partitions: 1, generation: 0, retention: None, lane: Lane::Durable };
    log.create(&topic).await.unwrap();
    for number in 0..50 {
        append(log.as_ref(), &name, record(number)).await.unwrap();
    }
    let mut reader = log.reader(&name, 0, 40).await.unwrap();
    let before = timeout(PATIENCE, reader.next(10)).await.unwrap().unwrap();

    delete(&bootstrap, &name).await;
    let other = connect(&bootstrap).await;
    // The name becomes free some moments after the deletion was accepted.
    timeout(PATIENCE, async {
        while other.create(&topic).await.is_err() || other.describe(&topic).await.unwrap().is_none() {}
    })
    .await
    .unwrap();
    let noticed = timeout(PATIENCE, async {
        let mut next = before.last().unwrap().offset + 1;
        loop {
            match reader.next(10).await {
                Ok(records) => {
                    assert_eq!(records[0].offset, next, "what was fetched before");
                    assert!(next < 50, "only records of the old topic");
                    next += records.len() as u64;
                }
                Err(error) => return error,
            }
        }
    });
    let noticed = noticed.await.unwrap();
    assert!(matches!(noticed, LogError::OutOfRange { .. } | LogError::NoTopic(_)), "{noticed:?}");
    // The producer's sequence numbers are invalid in the new topic: it may fail for good and be replaced.
    let position = timeout(PATIENCE, async {
        loop {
            match append(log.as_ref(), &name, record(100)).await {
                Ok(position) => return position,
                Err(AppendError::Fatal(_) | AppendError::Unknown | AppendError::NoTopic(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    position.await.unwrap();
    let mut again = log.reader(&name, 0, 0).await.unwrap();
    let first = timeout(PATIENCE, again.next(1)).await.unwrap().unwrap();
    assert_eq!(first[0].payload[..], 100_u32.to_be_bytes());
    assert_ne!(first[0].fingerprint(), before[0].fingerprint());
    log.close().await;
    other.close().await;
}
