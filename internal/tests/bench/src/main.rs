//! Measures the programs on real servers, each beside a floor: the same work by the bare drivers and nothing else.
//!
//! It uses the programs beside its own executable. `deploy/bench/README.md` says what is measured and how to read it.

mod backlog;
mod conditions;
mod contest;
mod embedded;
mod ground;
mod latency;
mod messages;
mod paced;
mod report;
mod storage;
mod talk;
mod wishes;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::wishes::Wishes;

#[tokio::main]
async fn main() -> ExitCode {
    match act().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, options)) = arguments.split_first() else { bail!(wishes::USAGE) };
    let wishes = Wishes::parse(options)?;
    testkit::programs::build_nothing();
    process::descriptors::raise()?;
    wishes.cores.leave()?;
    match name.as_str() {
        "backlog" => backlog::run(&wishes).await,
        "paced" => paced::run(&wishes).await,
        "embedded" => embedded::run(&wishes).await,
        "latency" => latency::run(&wishes).await,
        "storage" => storage::run(&wishes).await,
        _ => bail!(wishes::USAGE),
    }
}
