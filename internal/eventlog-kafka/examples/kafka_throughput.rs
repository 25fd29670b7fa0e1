//! Measures the log on a Kafka: `cargo run --release -p eventlog-kafka --example kafka_throughput -- HOST:PORT`.

use anyhow::Context as _;
use eventlog::measure::measure;
use eventlog_kafka::{KafkaConfig, KafkaLog};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let bootstrap = std::env::args().nth(1).context("usage: kafka_throughput HOST:PORT")?;
    let mut config = KafkaConfig::new(bootstrap, "throughput");
    config.dev = true;
    let log = KafkaLog::connect(config).await?;
    for line in measure(&log, &format!("throughput-{}", std::process::id())).await? {
        println!("{line}");
    }
    log.close().await;
    Ok(())
}
