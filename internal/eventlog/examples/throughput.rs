//! How fast the embedded log is on this machine: `cargo run --release -p eventlog --example throughput -- [FOLDER]`.
//!
//! Without a folder it runs in memory.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use eventlog::embedded::EmbeddedLog;
use eventlog::{EventLog, NewRecord, append};
use events::topics::TopicSpec;
use host::Clock;
use kv::Database;
use tokio::time::Instant;

const TOPIC: &str = "throughput";
const PARTITIONS: u32 = 12;
const BODY_BYTES: usize = 250;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let database = match std::env::args().nth(1) {
        Some(folder) => Database::open(Path::new(&folder))?,
        None => Database::in_memory(),
    };
    let log = EmbeddedLog::open(database, Clock::system()).await?;
    log.create(&TopicSpec { name: TOPIC.into(), partitions: PARTITIONS, generation: 0, retention: None }).await?;
    batched(&log, 8, 50_000).await?;
    one_by_one(log.as_ref(), 2_000).await?;
    together(&log, 64, 1_000).await?;
    reading(log.as_ref()).await?;
    log.close().await;
    Ok(())
}

fn record(n: u32) -> NewRecord {
    let headers = vec![("event".to_owned(), Bytes::from_static(b"message-sent")), ("v".to_owned(), Bytes::new())];
    let payload = Bytes::from(vec![b'x'; BODY_BYTES]);
    NewRecord { key: format!("0190a000-0000-7000-8000-{n:012}"), partition: None, headers, payload }
}

/// Tasks that enqueue without waiting for receipts.
async fn batched(log: &Arc<EmbeddedLog>, tasks: u32, each: u32) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let log = Arc::clone(log);
        running.spawn(async move {
            let mut receipts = Vec::new();
            for n in 0..each {
                receipts.push(log.enqueue(TOPIC, record(task * each + n)).await?);
            }
            for receipt in receipts {
                receipt.await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let rate = f64::from(tasks * each) / started.elapsed().as_secs_f64();
    println!("{tasks} tasks, receipts awaited at the end: {rate:.0} appends/s");
    Ok(())
}

/// One append at a time.
async fn one_by_one(log: &EmbeddedLog, count: u32) -> anyhow::Result<()> {
    let mut micros = Vec::new();
    for n in 0..count {
        let started = Instant::now();
        append(log, TOPIC, record(n)).await?;
        micros.push(started.elapsed().as_micros());
    }
    micros.sort_unstable();
    println!("one at a time: p50 {} us, p99 {} us", micros[micros.len() / 2], micros[micros.len() * 99 / 100]);
    Ok(())
}

/// Tasks that each wait for their append before the next.
async fn together(log: &Arc<EmbeddedLog>, tasks: u32, each: u32) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let log = Arc::clone(log);
        running.spawn(async move {
            for n in 0..each {
                append(log.as_ref(), TOPIC, record(task * each + n)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let rate = f64::from(tasks * each) / started.elapsed().as_secs_f64();
    println!("{tasks} tasks, one append at a time each: {rate:.0} appends/s");
    Ok(())
}

async fn reading(log: &EmbeddedLog) -> anyhow::Result<()> {
    let (started, mut count) = (Instant::now(), 0_u64);
    for partition in 0..PARTITIONS {
        let range = log.watermarks(TOPIC, partition).await?;
        let mut reader = log.reader(TOPIC, partition, range.low).await?;
        let mut next = range.low;
        while next < range.next {
            let records = reader.next(500).await?;
            count += records.len() as u64;
            next += records.len() as u64;
        }
    }
    #[allow(clippy::cast_precision_loss)]
    let rate = count as f64 / started.elapsed().as_secs_f64();
    println!("reading back: {rate:.0} records/s");
    Ok(())
}
