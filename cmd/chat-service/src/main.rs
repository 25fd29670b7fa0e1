//! The chat service: conversations over HTTP

use std::process::ExitCode;

use anyhow::Context;
use backends::{Bootstrap, DELIVERY_TIMEOUT, Engines, follow_keys};
use chat::{Allowance, Config, Deps, RULES_NEWEST, RULES_OLDEST};
use clap::{Parser, value_parser};
use process::options::{KeysOptions, ListenOptions, LogOptions, StoreOptions, UserRateOptions};
use process::{OriginOptions, ProxyOptions, Tasks};
use tokio_util::sync::CancellationToken;

/// jemalloc: why, and by how much, is in `deploy/bench/README.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The chat service: conversations over HTTP
#[derive(Debug, Parser)]
#[command(name = "chat-service", version)]
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
    #[command(flatten)]
    proxies: ProxyOptions,
    #[command(flatten)]
    user_rate: UserRateOptions,
    /// Version of the rules that commands are made under: that of the last release while programs of it run
    #[arg(
        long, env = "KLATSCH_RULES", value_name = "VERSION", default_value_t = RULES_NEWEST,
        value_parser = value_parser!(u32).range(RULES_OLDEST..=i64::from(RULES_NEWEST))
    )]
    rules: u32,
}

fn main() -> ExitCode {
    process::program(run)
}

async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let origins = options.origins.parsed()?;
    let mut bootstrap = Bootstrap::new("chat-service", &options.listen, 8082, stop.clone()).await?;
    let connected = Engines::connect(&bootstrap, &options.log, &options.store, Some(DELIVERY_TIMEOUT)).await?;
    let Some(engines) = connected else { return Ok(()) };
    let Engines { log, store, codec } = engines.clone();
    let bounds = bootstrap.bounds;
    let mut tasks = Tasks::new(bootstrap.readiness.clone());
    let verifier = follow_keys(&bootstrap, &options.keys, &store, &mut tasks)?;
    let (clock, serving) = (bootstrap.clock.clone(), bootstrap.serving().read_by(origins));
    let deps = Deps { log, store, codec, clock, verifier, serving: serving.clone() };
    let allowance = Allowance::new(options.user_rate.user_burst, options.user_rate.user_rate);
    let (trusted_proxies, rules) = (options.proxies.trusted_proxies, options.rules);
    let config = Config { trusted_proxies, allowance, rules, ..Config::default() };
    let router = chat::start(&config, &deps, &mut tasks);
    let listener = bootstrap.listener().await?;
    tasks.spawn("http server", move |token| process::serve_within(bounds, listener, router, serving, token));
    let ended = tasks.run(stop).await.context("running chat-service");
    engines.close().await;
    ended
}
