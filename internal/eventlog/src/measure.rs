//! Measures a log on this machine: the same load for every engine, so that figures can be compared and repeated.

use std::time::Duration;

use bytes::Bytes;
use events::topics::{Lane, TopicSpec};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{AppendError, LogError, NewRecord, SharedLog, append};

const PARTITIONS: u32 = 12;
const BODY_BYTES: usize = 250;
/// Appends per second where latency is measured.
const PACED_PER_SECOND: u32 = 200;

/// A failed measurement.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// A record was not appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A task of the load panicked or was cancelled.
    #[error("a task of the load was lost: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// Measures a new topic of that name; returns the results, a line each.
///
/// # Errors
/// When the log fails.
pub async fn measure(log: &SharedLog, topic: &str) -> Result<Vec<String>, MeasureError> {
    let spec =
        TopicSpec { name: topic.into(), partitions: PARTITIONS, generation: 0, retention: None, lane: Lane::Durable };
    log.create(&spec).await?;
    Ok(vec![
        one_by_one(log, topic, 2_000).await?,
        paced(log, topic, 2_000).await?,
        in_turn(log, topic, 64, 500).await?,
        at_once(log, topic, 8, 40_000).await?,
        backlog(log, topic).await?,
    ])
}

fn record(number: u32) -> NewRecord {
    NewRecord {
        key: format!("0190a000-0000-7000-8000-{number:012}"),
        partition: None,
        headers: vec![("event".into(), Bytes::from_static(b"message-sent"))],
        payload: Bytes::from(vec![b'x'; BODY_BYTES]),
    }
}

fn percentiles(mut latencies: Vec<Duration>) -> String {
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
    format!("p50 {:.2?}, p99 {:.2?}", at(50), at(99))
}

fn rate(count: u64, since: Instant) -> f64 {
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let count = count as f64;
    count / since.elapsed().as_secs_f64()
}

async fn one_by_one(log: &SharedLog, topic: &str, count: u32) -> Result<String, MeasureError> {
    let mut latencies = Vec::new();
    for number in 0..count {
        let started = Instant::now();
        append(log.as_ref(), topic, record(number)).await?;
        latencies.push(started.elapsed());
    }
    Ok(format!("one append at a time: {}", percentiles(latencies)))
}

/// Measures the latency from the call to the acknowledgement, and to a reader that waits at the end.
async fn paced(log: &SharedLog, topic: &str, count: u32) -> Result<String, MeasureError> {
    let next = log.watermarks(topic, 0).await?.next;
    let mut reader = log.reader(topic, 0, next).await?;
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < count as usize {
            let now = reader.next(100).await?.len();
            seen.extend(std::iter::repeat_n(Instant::now(), now));
        }
        Ok::<_, LogError>(seen)
    });
    let mut pace = interval(Duration::from_secs(1) / PACED_PER_SECOND);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sent, mut acknowledged) = (Vec::new(), Vec::new());
    for number in 0..count {
        pace.tick().await;
        let started = Instant::now();
        append(log.as_ref(), topic, NewRecord { partition: Some(0), ..record(number) }).await?;
        acknowledged.push(started.elapsed());
        sent.push(started);
    }
    let seen = reading.await??;
    let visible = seen.iter().zip(&sent).map(|(seen, sent)| seen.duration_since(*sent)).collect();
    let (acknowledged, visible) = (percentiles(acknowledged), percentiles(visible));
    Ok(format!("{PACED_PER_SECOND} appends/s: acknowledged {acknowledged}; read {visible}"))
}

/// Tasks that each wait for an append before the next one.
async fn in_turn(log: &SharedLog, topic: &str, tasks: u32, each: u32) -> Result<String, MeasureError> {
    let (started, mut running) = (Instant::now(), JoinSet::new());
    for task in 0..tasks {
        let (log, topic) = (log.clone(), topic.to_owned());
        running.spawn(async move {
            for number in 0..each {
                append(log.as_ref(), &topic, record(task * each + number)).await?;
            }
            Ok::<_, AppendError>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(format!("{tasks} tasks, one append at a time each: {:.0} appends/s", rate(u64::from(tasks * each), started)))
}

/// Tasks that enqueue all records, then wait for their receipts.
async fn at_once(log: &SharedLog, topic: &str, tasks: u32, each: u32) -> Result<String, MeasureError> {
    let (started, mut running) = (Instant::now(), JoinSet::new());
    for task in 0..tasks {
        let (log, topic) = (log.clone(), topic.to_owned());
        running.spawn(async move {
            let mut receipts = Vec::new();
            for number in 0..each {
                receipts.push(log.enqueue(&topic, record(task * each + number)).await?);
            }
            for receipt in receipts {
                receipt.await?;
            }
            Ok::<_, AppendError>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(format!("{tasks} tasks, receipts awaited at the end: {:.0} appends/s", rate(u64::from(tasks * each), started)))
}

async fn backlog(log: &SharedLog, topic: &str) -> Result<String, MeasureError> {
    let (started, mut running) = (Instant::now(), JoinSet::new());
    for partition in 0..PARTITIONS {
        let range = log.watermarks(topic, partition).await?;
        let mut reader = log.reader(topic, partition, range.low).await?;
        running.spawn(async move {
            let mut count = 0;
            while count < range.next - range.low {
                count += reader.next(500).await?.len() as u64;
            }
            Ok::<_, LogError>(count)
        });
    }
    let mut count = 0;
    while let Some(ended) = running.join_next().await {
        count += ended??;
    }
    Ok(format!("reading {count} records back: {:.0} records/s", rate(count, started)))
}
