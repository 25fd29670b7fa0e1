//! The chat service: conversations over HTTP

use std::process::ExitCode;

use anyhow::Context;
use chat::{Config, Deps};
use clap::Parser;
use cluster::{DELIVERY_TIMEOUT, Engines, Ground, follow_keys};
use runtime::Tasks;
use runtime::options::{KeysOptions, ListenOptions, LogOptions, StoreOptions};
use tokio_util::sync::CancellationToken;

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
}

fn main() -> ExitCode {
    runtime::program(run)
}

async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ground = Ground::new("chat-service", options.listen.address_or(8082), stop.clone()).await?;
    let connected = Engines::connect(&ground, &options.log, &options.store, Some(DELIVERY_TIMEOUT)).await?;
    let Some(engines) = connected else { return Ok(()) };
    let Engines { log, store, codec } = engines.clone();
    let mut tasks = Tasks::new(ground.readiness.clone());
    let verifier = follow_keys(&ground, &options.keys, &mut tasks)?;
    let (clock, serving) = (ground.clock.clone(), ground.serving());
    let deps = Deps { log, store, codec, clock, verifier, serving: serving.clone() };
    let router = chat::start(&Config::default(), &deps, &mut tasks);
    let listener = ground.listener().await?;
    tasks.spawn("http server", |token| runtime::serve(listener, router, serving, token));
    let ended = tasks.run(stop).await.context("running chat-service");
    engines.close().await;
    ended
}
