//! Measures two hops through a Kafka: `cargo run --release -p eventlog-kafka --example two_hops -- HOST:PORT`.
//!
//! A record is appended to one topic, read, appended to a second one, and read there: the lower bound of any
//! fan-out's latency on a Kafka. Measured once with librdkafka's client alone, used as its documentation says, and
//! once through this log.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use eventlog::{NewRecord, SharedLog};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use events::topics::{Lane, TopicSpec};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

const PARTITIONS: u32 = 12;
const BODY_BYTES: usize = 250;
const RECORDS: u32 = 2_000;
const PER_SECOND: u32 = 200;
/// A record that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<()> {
    let bootstrap = std::env::args().nth(1).context("usage: two_hops HOST:PORT")?;
    let mut config = KafkaConfig::new(bootstrap.clone(), "two-hops");
    config.dev = true;
    let log = KafkaLog::connect(config).await?;
    let run = std::process::id();
    for (name, seam) in [("bare", false), ("through the log", true)] {
        let topics = [1, 2].map(|hop| format!("two-hops-{run}-{seam}-{hop}"));
        for name in &topics {
            log.create(&TopicSpec {
                name: name.clone(),
                partitions: PARTITIONS,
                generation: 0,
                retention: None,
                lane: Lane::Durable,
            })
            .await?;
        }
        let begun = Instant::now();
        let mut latencies =
            if seam { through_the_log(&log, &topics, begun).await? } else { bare(&bootstrap, &topics, begun).await? };
        latencies.sort_unstable();
        let at = |percent: usize| latencies[latencies.len() * percent / 100];
        println!("{name}: {RECORDS} records, {PER_SECOND}/s: p50 {:.2?}, p99 {:.2?}", at(50), at(99));
    }
    log.close().await;
    Ok(())
}

/// The time of the append, then padding.
fn body(begun: Instant) -> Vec<u8> {
    let mut body = vec![b'x'; BODY_BYTES];
    body[..8].copy_from_slice(&u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
    body
}

fn age(begun: Instant, body: &[u8]) -> Result<Duration> {
    let then = u64::from_le_bytes(body.get(..8).context("not our record")?.try_into()?);
    Ok(begun.elapsed().saturating_sub(Duration::from_nanos(then)))
}

fn pace() -> tokio::time::Interval {
    let mut pace = interval(Duration::from_secs(1) / PER_SECOND);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    pace
}

async fn bare(bootstrap: &str, topics: &[String; 2], begun: Instant) -> Result<Vec<Duration>> {
    let client = || {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", bootstrap).set("group.id", "two-hops").set("enable.auto.commit", "false");
        client.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "0");
        client
    };
    let reading = |topic: &str| -> Result<StreamConsumer> {
        let (consumer, mut all): (StreamConsumer, _) = (client().create()?, TopicPartitionList::new());
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, i32::try_from(partition)?, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        Ok(consumer)
    };
    let (first, last) = (reading(&topics[0])?, reading(&topics[1])?);
    let (sender, hop): (FutureProducer, FutureProducer) = (client().create()?, client().create()?);
    let second = topics[1].clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let record = first.recv().await?;
            let (key, body) = (record.key().unwrap_or_default(), record.payload().unwrap_or_default());
            let sent = hop.send_result(FutureRecord::to(&second).key(key).payload(body));
            drop(sent.map_err(|(error, _)| error)?);
        }
        #[expect(unreachable_code, reason = "says what the task would return")]
        Ok::<(), anyhow::Error>(())
    });
    let topic = topics[0].clone();
    tasks.spawn(async move {
        let mut pace = pace();
        for number in 0..RECORDS {
            pace.tick().await;
            let (key, body) = (number.to_string(), body(begun));
            let sent = sender.send_result(FutureRecord::to(&topic).key(&key).payload(&body));
            drop(sent.map_err(|(error, _)| error)?);
        }
        std::future::pending().await
    });
    let mut latencies = Vec::new();
    while latencies.len() < RECORDS as usize {
        let record = timeout(PATIENCE, last.recv()).await.context("a record was lost")??;
        latencies.push(age(begun, record.payload().unwrap_or_default())?);
    }
    Ok(latencies)
}

async fn through_the_log(log: &SharedLog, topics: &[String; 2], begun: Instant) -> Result<Vec<Duration>> {
    let (arrived, mut arrivals) = tokio::sync::mpsc::channel(1_000);
    let mut tasks = JoinSet::new();
    for partition in 0..PARTITIONS {
        let (mut first, mut last) =
            (log.reader(&topics[0], partition, 0).await?, log.reader(&topics[1], partition, 0).await?);
        let (log, second, arrived) = (log.clone(), topics[1].clone(), arrived.clone());
        tasks.spawn(async move {
            loop {
                for record in first.next(500).await? {
                    let key = String::from_utf8_lossy(&record.key).into_owned();
                    let record = NewRecord { key, partition: None, headers: Vec::new(), payload: record.payload };
                    drop(log.enqueue(&second, record).await?);
                }
            }
            #[expect(unreachable_code, reason = "says what the task would return")]
            Ok::<(), anyhow::Error>(())
        });
        tasks.spawn(async move {
            loop {
                for record in last.next(500).await? {
                    arrived.send(age(begun, &record.payload)?).await?;
                }
            }
        });
    }
    let (appending, topic) = (log.clone(), topics[0].clone());
    tasks.spawn(async move {
        let mut pace = pace();
        for number in 0..RECORDS {
            pace.tick().await;
            let payload = Bytes::from(body(begun));
            let record = NewRecord { key: number.to_string(), partition: None, headers: Vec::new(), payload };
            drop(appending.enqueue(&topic, record).await?);
        }
        std::future::pending().await
    });
    let mut latencies = Vec::new();
    while latencies.len() < RECORDS as usize {
        latencies
            .push(timeout(PATIENCE, arrivals.recv()).await.context("a record was lost")?.context("no reader left")?);
    }
    ensure!(tasks.try_join_next().is_none(), "a task of the loop ended");
    Ok(latencies)
}
