//! The user service: accounts, sessions and the keys of access tokens

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use auth::SigningKey;
use clap::Parser;
use cluster::{DELIVERY_TIMEOUT, Engines, Ground};
use runtime::ConfigFault;
use runtime::options::{ListenOptions, LogOptions, StoreOptions};
use tokio_util::sync::CancellationToken;
use users::{Config, Deps};

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
    /// The key that access tokens are signed with, PKCS#8 PEM; made where it is not there. All processes share it
    #[arg(long, env = "KLATSCH_KEY_FILE", value_name = "FILE", default_value = "signing-key.pem")]
    key_file: PathBuf,
}

fn main() -> ExitCode {
    runtime::program(run)
}

async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ground = Ground::new("user-service", options.listen.address_or(8081), stop.clone()).await?;
    let key = SigningKey::load_or_create(&options.key_file, &ground.entropy);
    let key = key.map_err(|error| ConfigFault::caused(error.to_string(), error))?;
    let connected = Engines::connect(&ground, &options.log, &options.store, Some(DELIVERY_TIMEOUT)).await?;
    let Some(engines) = connected else { return Ok(()) };
    let Engines { log, store, codec } = engines.clone();
    let deps = Deps {
        store,
        log,
        codec,
        clock: ground.clock.clone(),
        entropy: ground.entropy.clone(),
        key,
        metrics: ground.metrics.clone(),
        readiness: ground.readiness.clone(),
    };
    let listener = ground.listener().await?;
    let ended = users::run(Config::default(), deps, listener, stop).await.context("running user-service");
    engines.close().await;
    ended
}
