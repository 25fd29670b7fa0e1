//! The floor of the embedded engines: rows of a message's size, made durable by fjall alone.
//!
//! As many rows as there are senders share a write, as they would where each waits for its row before it sends the next.
//! No log, no rules, no sockets.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use bench::processes::cpu_of;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tokio::time::{Instant, sleep_until};

/// The bytes of a row: about those of a message in the log.
const ROW_BYTES: usize = 250;

/// Prints rows per second, microseconds of CPU time of each, and p50 and p99 in milliseconds of single rows at the rate.
pub(crate) async fn run(folder: &Path, senders: u64, seconds: u64, rate: u64) -> Result<()> {
    // One worker for flushes and compactions, as `klatsch` has.
    let database = Database::builder(folder).worker_threads(1).open()?;
    let table = database.keyspace("rows", KeyspaceCreateOptions::default)?;
    let (time, mut rows) = (Duration::from_secs(seconds), 0);
    let (begun, cpu) = (Instant::now(), cpu_of(std::process::id())?);
    while begun.elapsed() < time {
        write(&database, &table, rows, senders)?;
        rows += senders;
    }
    let (took, cpu) = (begun.elapsed(), cpu_of(std::process::id())? - cpu);
    let mut times = Vec::new();
    let begun = Instant::now();
    for number in 0..seconds * rate {
        let due = Duration::from_secs_f64(number as f64 / rate as f64);
        sleep_until(begun + due).await;
        let one = Instant::now();
        write(&database, &table, rows + number, 1)?;
        times.push(one.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied().unwrap_or_default();
    let [p50, p99] = [at(50), at(99)].map(|time| time.as_secs_f64() * 1e3);
    println!("{} {} {p50} {p99}", rows as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / rows as f64);
    Ok(())
}

/// Writes rows in one batch, and waits until a power cut cannot take them.
fn write(database: &Database, table: &Keyspace, first: u64, count: u64) -> Result<()> {
    let mut batch = database.batch().durability(Some(PersistMode::SyncData));
    for number in first..first + count {
        batch.insert(table, number.to_be_bytes(), [b'.'; ROW_BYTES]);
    }
    Ok(batch.commit()?)
}
