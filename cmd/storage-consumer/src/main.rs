//! The storage consumer: writes events from Kafka to ScyllaDB

use std::process::ExitCode;

use anyhow::Context;
use axum::Router;
use backends::{Bootstrap, Engines};
use clap::Parser;
use process::Tasks;
use process::options::{ListenOptions, LogOptions, StoreOptions};
use storage::{Deps, StorageMetrics};
use tokio_util::sync::CancellationToken;

/// jemalloc: why, and by how much, is in `deploy/bench/README.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    let mut bootstrap = Bootstrap::new("storage-consumer", &options.listen, 8084, stop.clone()).await?;
    let Some(engines) = Engines::connect(&bootstrap, &options.log, &options.store, None).await? else { return Ok(()) };
    let Engines { log, store, codec } = engines.clone();
    let deps = Deps::new(log, store, codec, bootstrap.entropy.clone(), StorageMetrics::new(&bootstrap.metrics));
    let (listener, serving, readiness) =
        (bootstrap.listener().await?, bootstrap.serving(), bootstrap.readiness.clone());
    let bounds = bootstrap.bounds;
    let mut tasks = Tasks::new(bootstrap.readiness.clone());
    // Started first, so it ends last: health checks are answered until the work is done.
    tasks.spawn("health server", move |token| process::serve_within(bounds, listener, Router::new(), serving, token));
    tasks.spawn("storage", |token| storage::run(deps, readiness, token));
    let ended = tasks.run(stop).await.context("running storage-consumer");
    engines.close().await;
    ended
}
