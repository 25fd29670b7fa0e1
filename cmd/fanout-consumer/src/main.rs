//! The fan-out consumer: turns events into per-user deliveries

use std::process::ExitCode;

use anyhow::Context;
use axum::Router;
use backends::{Bootstrap, Engines};
use clap::Parser;
use fanout::{Deps, FanoutMetrics};
use process::Tasks;
use process::options::{ListenOptions, LogOptions, StoreOptions};
use tokio_util::sync::CancellationToken;

/// jemalloc: why, and by how much, is in `deploy/bench/README.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The fan-out consumer: turns events into per-user deliveries
#[derive(Debug, Parser)]
#[command(name = "fanout-consumer", version)]
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
    let mut bootstrap = Bootstrap::new("fanout-consumer", &options.listen, 8085, stop.clone()).await?;
    let Some(engines) = Engines::connect(&bootstrap, &options.log, &options.store, None).await? else { return Ok(()) };
    let Engines { log, store, codec } = engines.clone();
    let deps = Deps::new(log, store, codec, bootstrap.entropy.clone(), FanoutMetrics::new(&bootstrap.metrics));
    let (listener, serving, readiness) =
        (bootstrap.listener().await?, bootstrap.serving(), bootstrap.readiness.clone());
    let bounds = bootstrap.bounds;
    let mut tasks = Tasks::new(bootstrap.readiness.clone());
    // Started first, so it ends last: health checks are answered until the work is done.
    tasks.spawn("health server", move |token| process::serve_within(bounds, listener, Router::new(), serving, token));
    tasks.spawn("fan-out", |token| fanout::run(deps, readiness, token));
    let ended = tasks.run(stop).await.context("running fanout-consumer");
    engines.close().await;
    ended
}
