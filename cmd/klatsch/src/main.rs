//! Klatsch in one process on the embedded engines: every service behind one port, with one data folder and no
//! other dependencies.

mod engines;
mod services;

use std::io::{Write as _, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use environment::{Clock, Entropy};
use operate::CommandSocket;
use process::options::{ListenOptions, SocketOptions, UserRateOptions};
use process::{Metrics, OriginOptions, ProxyOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// jemalloc: why, and by how much, is in `deploy/bench/README.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Klatsch in one process: chat service, storage, fan-out, websocket and user service on the embedded engines
#[derive(Debug, Parser)]
#[command(name = "klatsch", version)]
struct Options {
    #[command(flatten)]
    listen: ListenOptions,
    /// The data folder, created if it does not exist. One process at a time; 'klatschctl' works beside it
    #[arg(long, env = "KLATSCH_DATA", value_name = "FOLDER", default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    origins: OriginOptions,
    #[command(flatten)]
    proxies: ProxyOptions,
    #[command(flatten)]
    sockets: SocketOptions,
    #[command(flatten)]
    user_rate: UserRateOptions,
}

fn main() -> ExitCode {
    #[cfg(feature = "seeded-bugs")]
    if let Err(fault) = switch_bug_on() {
        eprintln!("klatsch: {fault}");
        return ExitCode::FAILURE;
    }
    // The program is started at a terminal, so by default only warnings are logged.
    let later = |options: &Options| options.sockets.ends_later();
    process::program_ending_later(process::telemetry::TERMINAL_FILTER, later, run)
}

/// Switches on the bug that KLATSCH_SEEDED_BUG names, if there is such a variable.
#[cfg(feature = "seeded-bugs")]
fn switch_bug_on() -> Result<(), String> {
    use environment::seeded_bugs::{Bug, switch};

    let Some(name) = std::env::var_os("KLATSCH_SEEDED_BUG") else { return Ok(()) };
    let name = name.to_string_lossy();
    let bug = Bug::named(&name).ok_or_else(|| format!("there is no seeded bug '{name}'"))?;
    switch(Some(bug));
    eprintln!("klatsch: with the seeded bug {bug:?}");
    Ok(())
}

async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let Options { listen, data, origins, proxies, sockets, user_rate } = options;
    let origins = origins.parsed()?;
    let (begun, clock, entropy) = (Instant::now(), Clock::system(), Entropy::system());
    let listener = process::bind(listen.address_or(8080)).await?;
    let address = listener.local_addr()?;
    let operators = process::bind_operators(&listen, address).await?;
    let bounds = listen.bounds();
    let metrics = Metrics::with_clock(clock.clone());
    let engines = engines::open(&data, &clock, &entropy, &metrics).await?;
    let commands = door(&data);
    let service = services::Services { clock, entropy, metrics, origins, proxies, sockets, user_rate };
    let announced = || announce(address, &data, begun);
    let doors = services::Doors { public: listener, operators, commands, bounds };
    let ended = service.run(&engines, doors, stop, announced).await;
    engines.close().await;
    ended
}

/// The socket for operators' commands. The service also runs without it; those commands then say what to do.
fn door(data: &Path) -> Option<CommandSocket> {
    let opened = CommandSocket::open(data);
    let warn = |error: &std::io::Error| tracing::warn!(%error, "no socket for operators' commands: they need a stopped klatsch");
    opened.inspect_err(warn).ok()
}

/// Prints the one line that is for people and not for the log.
fn announce(address: SocketAddr, data: &Path, begun: Instant) {
    let here = if data.is_relative() && !data.starts_with(".") { "./" } else { "" };
    let (data, seconds) = (data.display(), begun.elapsed().as_secs_f64());
    // A closed standard output is no reason to stop.
    let _ = writeln!(stdout(), "klatsch is ready at http://{address} after {seconds:.2} s, data in {here}{data}");
}
