//! The storage consumer: writes events from Kafka to ScyllaDB

use std::process::ExitCode;

use anyhow::Context;
use axum::Router;
use backends::{Engines, Ground};
use clap::Parser;
use process::Tasks;
use process::options::{ListenOptions, LogOptions, StoreOptions};
use storage::{Deps, StorageMetrics};
use tokio_util::sync::CancellationToken;

/// The storage consumer: writes events from Kafka to ScyllaDB
#[derive(Debug, Parser)]
#[command(name = "storage-consumer", version)]
struct Options {
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    store: StoreOptions,
}

fn main() -> ExitCode {
    process::program(run)
}

async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ground = Ground::new("storage-consumer", &options.listen, 8084, stop.clone()).await?;
    let Some(engines) = Engines::connect(&ground, &options.log, &options.store, None).await? else { return Ok(()) };
    let Engines { log, store, codec } = engines.clone();
    let deps = Deps::new(log, store, codec, ground.entropy.clone(), StorageMetrics::new(&ground.metrics));
    let (listener, serving, readiness) = (ground.listener().await?, ground.serving(), ground.readiness.clone());
    let bounds = ground.bounds;
    let mut tasks = Tasks::new(ground.readiness.clone());
    // Started first, so ended last: the health routes answer until the work is done.
    tasks.spawn("health server", move |token| process::serve_within(bounds, listener, Router::new(), serving, token));
    tasks.spawn("storage", |token| storage::run(deps, readiness, token));
    let ended = tasks.run(stop).await.context("running storage-consumer");
    engines.close().await;
    ended
}
