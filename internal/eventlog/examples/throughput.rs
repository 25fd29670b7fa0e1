//! Measures the embedded log on this machine: `cargo run --release -p eventlog --example throughput -- [FOLDER]`.
//!
//! Without a folder, the log is in memory.

use std::path::Path;

use environment::Clock;
use eventlog::SharedLog;
use eventlog::embedded::EmbeddedLog;
use eventlog::measure::measure;
use kv::Database;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let database = match std::env::args().nth(1) {
        Some(folder) => Database::open(Path::new(&folder))?,
        None => Database::in_memory(),
    };
    let log: SharedLog = EmbeddedLog::open(database, Clock::system()).await?;
    for line in measure(&log, "throughput").await? {
        println!("{line}");
    }
    log.close().await;
    Ok(())
}
