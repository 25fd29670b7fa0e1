//! The websocket service: pushes deliveries to every connected device

use std::process::ExitCode;

use anyhow::Context;
use backends::{Bootstrap, DELIVERY_TIMEOUT, Engines, follow_keys};
use clap::Parser;
use process::options::{KeysOptions, ListenOptions, LogOptions, StoreOptions};
use process::{OriginOptions, Tasks};
use sockets::{Config, Deps};
use tokio_util::sync::CancellationToken;

/// jemalloc: why, and by how much, is in `deploy/bench/README.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The websocket service: pushes deliveries to every connected device
#[derive(Debug, Parser)]
#[command(name = "websocket-service", version)]
struct Options {
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    keys: KeysOptions,
    #[command(flatten)]
    origins: OriginOptions,
}

fn main() -> ExitCode {
    process::program(run)
}

async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let origins = options.origins.parsed()?;
    let mut bootstrap = Bootstrap::new("websocket-service", &options.listen, 8083, stop.clone()).await?;
    let connected = Engines::connect(&bootstrap, &options.log, &options.store, Some(DELIVERY_TIMEOUT)).await?;
    let Some(engines) = connected else { return Ok(()) };
    let Engines { log, store, codec } = engines.clone();
    let bounds = bootstrap.bounds;
    let mut tasks = Tasks::new(bootstrap.readiness.clone());
    let verifier = follow_keys(&bootstrap, &options.keys, &store, &mut tasks)?;
    let deps = Deps {
        log,
        store,
        codec,
        verifier,
        clock: bootstrap.clock.clone(),
        entropy: bootstrap.entropy.clone(),
        readiness: bootstrap.readiness.clone(),
        metrics: bootstrap.metrics.clone(),
    };
    let config = Config { origins: origins.clone(), ..Config::default() };
    let (router, sockets) = sockets::start(config, deps, &mut tasks);
    let (listener, serving) = (bootstrap.listener().await?, bootstrap.serving().read_by(origins));
    tasks.spawn("http server", move |token| process::serve_within(bounds, listener, router, serving, token));
    // Ends before the HTTP server, which still answers health checks while the sockets are being closed.
    tasks.spawn("sockets", |token| sockets.drain(token));
    let ended = tasks.run(stop).await.context("running websocket-service");
    engines.close().await;
    ended
}
