//! Measures the programs on real servers, each beside a floor: the same work by the bare drivers and nothing else.
//!
//! It uses the programs beside its own executable. `deploy/bench/README.md` says what is measured and how to read it.

mod backlog;
mod compare;
mod conditions;
mod consumers;
mod contest;
mod conversations;
mod embedded;
mod folder;
mod ground;
mod idle;
mod latency;
mod members;
mod messages;
mod paced;
mod records;
mod report;
mod storage;
mod talk;
mod volume;
mod wishes;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::wishes::Wishes;

#[tokio::main]
async fn main() -> ExitCode {
    match act().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether two results are the same, where they are compared.
async fn act() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, options)) = arguments.split_first() else { bail!(wishes::USAGE) };
    if let ("compare", [before, after]) = (name.as_str(), options) {
        return compare::run(before.as_ref(), after.as_ref());
    }
    let wishes = Wishes::parse(options)?;
    testkit::programs::build_nothing();
    process::descriptors::raise()?;
    wishes.cores.leave()?;
    match name.as_str() {
        "backlog" => backlog::run(&wishes).await,
        "paced" => paced::run(&wishes).await,
        "idle" => idle::run(&wishes).await,
        "latency" => latency::run(&wishes).await,
        "storage" => storage::run(&wishes).await,
        "consumers" => consumers::run(&wishes).await,
        "records" => records::run(&wishes).await,
        "embedded" => embedded::run(&wishes).await,
        "members" => members::run(&wishes).await,
        "conversations" => conversations::run(&wishes).await,
        "volume" => volume::run(&wishes).await,
        _ => bail!(wishes::USAGE),
    }?;
    Ok(true)
}
