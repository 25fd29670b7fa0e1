//! Command line for the long runs: a load with faults, and the oracle's verdict with figures. [`HELP`] has the
//! usage.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use testkit::load::LoadConfig;
use testkit::programs::{Cluster, Single};
use testkit::runs::{self, Harm};

const USAGE: &str = "usage: load [replay|rebuild] single|cluster [OPTIONS]; 'load --help' says more";

const HELP: &str = "\
A load with faults on programs of its own. An oracle compares what every
device sent and received with log and store. (How fast a server answers, and
how many devices it bears, is what 'klatsch-load' measures, from outside.)

usage: load [replay|rebuild] single|cluster [OPTIONS]

  load single             a load on klatsch
  load cluster            the same on the services, with real Kafka, CQL and
                          registry (fetched and started)
  load replay ...         then the log is replayed, into new tables and over
                          what is there
  load rebuild ...        rows are rebuilt in new tables, the rebuild is killed
                          --kills times, then switched to and switched back

The world:
  --users N  --devices N (of each user)  --conversations N  --members N
  --messages N  --rate R (messages a second)  --seed S
  --steady                devices stay connected and lose nothing they stored
Faults:
  --kills N               kill -9 at random moments
  --faults N              servers that stop and come back (cluster)
  --clocks N              clocks that jump (with libfaketime)
  --foreign N             records of other producers, of each kind in each topic
Programs:
  --build                 build them first, with cargo; without, they are those
                          beside this program, or in the folder KLATSCH_PROGRAMS

The exit code is 1 when anything was lost, doubled or out of order.";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| ["--help", "-h", "help"].contains(&word.as_str())) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if !arguments.iter().any(|word| word == "--build") {
        testkit::programs::build_nothing();
    }
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
    let mut words = arguments;
    let what = words.split_off_first().context(USAGE)?;
    let (what, target) = match what.as_str() {
        "replay" | "rebuild" => (what.as_str(), words.split_off_first().context(USAGE)?),
        _ => ("load", what),
    };
    let (config, harm) = parse(words)?;
    println!("{what} {target}: {config:?}, {harm:?}");
    let report = match (what, target.as_str()) {
        ("replay", "single") => runs::replay_single(&mut Single::new().await?, config).await?,
        ("replay", "cluster") => runs::replay_cluster(&mut Cluster::new().await?, config).await?,
        ("rebuild", "single") => runs::rebuild_single(&mut Single::new().await?, config, harm.kills).await?,
        ("rebuild", "cluster") => runs::rebuild_cluster(&mut Cluster::new().await?, config, harm.kills).await?,
        (_, "single") => {
            let mut single = Single::new().await?;
            if harm.clocks > 0 {
                single.program.own_clock()?;
            }
            runs::single(&mut single, config, harm).await?
        }
        (_, "cluster") => {
            let cluster = if harm.faults > 0 { Cluster::with_own_store().await } else { Cluster::new().await };
            let mut cluster = cluster?;
            if harm.clocks > 0 {
                cluster.own_clocks()?;
            }
            runs::cluster(&mut cluster, config, harm).await?
        }
        _ => bail!(USAGE),
    };
    print!("{report}");
    Ok(report.verdict.is_zero())
}

fn parse(mut options: &[String]) -> Result<(LoadConfig, Harm)> {
    let (mut config, mut harm) = (LoadConfig::default(), Harm::default());
    while let Some((name, rest)) = options.split_first() {
        options = rest;
        if name == "--steady" {
            config.unsteady = false;
            continue;
        }
        if name == "--build" {
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
            "--kills" => harm.kills = number,
            "--faults" => harm.faults = number,
            "--clocks" => harm.clocks = number,
            "--foreign" => harm.foreign = number,
            "--seed" => config.seed = number as u64,
            "--rate" => config.rate = Some(u32::try_from(number)?),
            _ => bail!("{name} is not known; {USAGE}"),
        }
    }
    ensure!(config.users >= 3 && config.devices >= 1 && config.members_max >= 2, "too small a world");
    Ok((config, harm))
}
