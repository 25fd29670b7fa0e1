//! The user service: accounts, sessions and the keys of access tokens

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use auth::{EndedSessions, KeyRing};
use backends::{Bootstrap, DELIVERY_TIMEOUT, Engines};
use clap::Parser;
use process::options::{ListenOptions, LogOptions, StoreOptions};
use process::{ConfigFault, OriginOptions, ProxyOptions, Tasks};
use tokio_util::sync::CancellationToken;
use users::{Config, Deps};

/// jemalloc: why, and by how much, is in `deploy/bench/README.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The user service: accounts, sessions and the keys of access tokens
#[derive(Debug, Parser)]
#[command(name = "user-service", version)]
struct Options {
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    store: StoreOptions,
    /// The keys that access tokens are signed with, PKCS#8 PEM ('klatschctl keys' adds and removes keys); created
    /// if it does not exist, and read again while the service runs. All processes share it
    #[arg(long, env = "KLATSCH_KEY_FILE", value_name = "FILE", default_value = "signing-key.pem")]
    key_file: PathBuf,
    #[command(flatten)]
    origins: OriginOptions,
    #[command(flatten)]
    proxies: ProxyOptions,
}

fn main() -> ExitCode {
    process::program(run)
}

async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let origins = options.origins.parsed()?;
    let mut bootstrap = Bootstrap::new("user-service", &options.listen, 8081, stop.clone()).await?;
    let keys = KeyRing::open(&options.key_file, &bootstrap.clock, &bootstrap.entropy);
    let keys = keys.map_err(|error| ConfigFault::caused(error.to_string(), error))?;
    let connected = Engines::connect(&bootstrap, &options.log, &options.store, Some(DELIVERY_TIMEOUT)).await?;
    let Some(engines) = connected else { return Ok(()) };
    let Engines { log, store, codec } = engines.clone();
    let deps = Deps {
        store,
        log,
        codec,
        clock: bootstrap.clock.clone(),
        entropy: bootstrap.entropy.clone(),
        keys,
        ended: EndedSessions::default(),
        metrics: bootstrap.metrics.clone(),
        readiness: bootstrap.readiness.clone(),
    };
    let (bounds, serving) = (bootstrap.bounds, bootstrap.serving().read_by(origins));
    let mut tasks = Tasks::new(bootstrap.readiness.clone());
    let config = Config { trusted_proxies: options.proxies.trusted_proxies, ..Config::default() };
    let router = users::start(&config, deps, &mut tasks)?;
    let listener = bootstrap.listener().await?;
    tasks.spawn("http server", move |token| process::serve_within(bounds, listener, router, serving, token));
    let ended = tasks.run(stop).await.context("running user-service");
    engines.close().await;
    ended
}
