//! The long runs, from the command line: a load with disturbances and the oracle's verdict, with figures.
//!
//! ```text
//! load single|cluster [--users N] [--devices N] [--conversations N] [--members N] [--messages N] [--kills N] [--seed S]
//!                     [--rate R] [--steady]
//! ```
//! Ends with 1 when the oracle is not all zero.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use testkit::load::LoadConfig;
use testkit::programs::Single;
use testkit::runs;

const USAGE: &str = "usage: load single|cluster [--users N] [--devices N] [--conversations N] [--members N] [--messages N] \
[--kills N] [--seed S] [--rate R] [--steady]";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match act(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(arguments: &[String]) -> Result<bool> {
    let Some((target, options)) = arguments.split_first() else { bail!(USAGE) };
    let (config, kills) = parse(options)?;
    println!("{config:?}, {kills} kills");
    let report = match target.as_str() {
        "single" => runs::single(&mut Single::new().await?, config, kills).await?,
        _ => bail!(USAGE),
    };
    print!("{report}");
    Ok(report.verdict.is_zero())
}

fn parse(mut options: &[String]) -> Result<(LoadConfig, usize)> {
    let (mut config, mut kills) = (LoadConfig::default(), 0);
    while let Some((name, rest)) = options.split_first() {
        options = rest;
        if name == "--steady" {
            config.unsteady = false;
            continue;
        }
        let (value, rest) = options.split_first().with_context(|| format!("{name} needs a value; {USAGE}"))?;
        options = rest;
        let number: usize = value.parse().with_context(|| format!("{name} {value} is no number"))?;
        match name.as_str() {
            "--users" => config.users = number,
            "--devices" => config.devices = number,
            "--conversations" => config.conversations = number,
            "--members" => config.members_max = number,
            "--messages" => config.messages = number,
            "--kills" => kills = number,
            "--seed" => config.seed = number as u64,
            "--rate" => config.rate = Some(u32::try_from(number)?),
            _ => bail!("{name} is not known; {USAGE}"),
        }
    }
    ensure!(config.users >= 3 && config.devices >= 1 && config.members_max >= 2, "too small a world");
    Ok((config, kills))
}
