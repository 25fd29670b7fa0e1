//! The websocket service: pushes deliveries to every connected device

use std::process::ExitCode;

use anyhow::Context;
use backends::{Bootstrap, DELIVERY_TIMEOUT, Engines, follow_keys};
use clap::{Parser, value_parser};
use process::options::{KeysOptions, ListenOptions, LogOptions, SocketOptions, StoreOptions, UserRateOptions};
use process::{OriginOptions, ProxyOptions, Tasks};
use sockets::{Config, Deps, RULES_NEWEST, RULES_OLDEST};
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
    #[command(flatten)]
    proxies: ProxyOptions,
    #[command(flatten)]
    sockets: SocketOptions,
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
    let later = |options: &Options| options.sockets.ends_later();
    process::program_ending_later(process::telemetry::SERVICE_FILTER, later, run)
}

async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let origins = options.origins.parsed()?;
    let mut bootstrap = Bootstrap::new("websocket-service", &options.listen, 8083, stop.clone()).await?;
    let connected = Engines::connect(&bootstrap, &options.log, &options.store, Some(DELIVERY_TIMEOUT)).await?;
    let Some(engines) = connected else { return Ok(()) };
    let Engines { log, store, codec } = engines.clone();
    let bounds = bootstrap.bounds;
    let mut tasks = Tasks::new(bootstrap.readiness.clone()).ending_later(options.sockets.ends_later());
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
    let config = Config::of_options(&options.sockets, &options.user_rate, options.proxies);
    let config = Config { origins: origins.clone(), rules: options.rules, ..config };
    let (router, sockets) = sockets::start(config, deps, &mut tasks);
    let (listener, serving) = (bootstrap.listener().await?, bootstrap.serving().read_by(origins));
    tasks.spawn("http server", move |token| process::serve_within(bounds, listener, router, serving, token));
    // Ends before the HTTP server, which still answers health checks while the sockets are being closed.
    tasks.spawn("sockets", |token| sockets.drain(token));
    let ended = tasks.run(stop).await.context("running websocket-service");
    engines.close().await;
    ended
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn config(arguments: &str) -> Result<Config, clap::Error> {
        let words = std::iter::once("websocket-service").chain(arguments.split_whitespace());
        let options = Options::try_parse_from(words)?;
        Ok(Config::of_options(&options.sockets, &options.user_rate, options.proxies))
    }

    /// The bounds that options are about.
    fn bounds(config: &Config) -> String {
        format!(
            "{} {} {:?} {} {:?} {} {} {} {}",
            config.sockets_max,
            config.sockets_per_user_max,
            config.sockets_per_address,
            config.trusted_proxies,
            config.drain_window,
            config.welcomes_per_second,
            config.routed_by_partition,
            config.burst,
            config.rate,
        )
    }

    #[test]
    fn what_is_not_named_is_as_by_default_and_what_cannot_be_is_refused() {
        assert_eq!(bounds(&config("").unwrap()), bounds(&Config::default()));
        let named = "--sockets-max 7 --sockets-per-user 6 --sockets-per-address 5 --trusted-proxies 4 --drain-window 60 \
                     --welcomes-per-second 0 --routed-by-partition --socket-burst 3 --socket-rate 2 --user-rate 9 \
                     --user-burst 8";
        assert_eq!(bounds(&config(named).unwrap()), "7 6 Max(5) 4 60s 0 true 3 2");
        for refused in [
            "--sockets-max 0",
            "--sockets-per-user 0",
            "--drain-window 0",
            "--drain-window 3601",
            "--socket-rate 0",
            "--user-burst 0",
            "--welcomes-per-second -1",
        ] {
            assert!(config(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn the_end_of_the_program_is_as_much_later_as_the_drain_window_is_longer() {
        let later = |arguments: &str| {
            let words = std::iter::once("websocket-service").chain(arguments.split_whitespace());
            Options::try_parse_from(words).unwrap().sockets.ends_later().as_secs()
        };
        assert_eq!((later(""), later("--drain-window 1"), later("--drain-window 60")), (0, 0, 55));
    }
}
