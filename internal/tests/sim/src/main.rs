//! `sim`: runs worlds from seeds, prints what happened in them, and shows those that fail.

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use tokio::time::Duration;

/// The whole system from one seed, in virtual time, under faults
#[derive(Debug, Parser)]
struct Options {
    /// Seeds to run, the last one excluded
    #[arg(long, default_value = "1..1001", value_parser = range)]
    seeds: Range<u64>,
    /// One seed only
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// With --seed: everything that happens, in the shortened schedule as well
    #[arg(long, requires = "seed")]
    trace: bool,
    /// With --seed: the services' own log, on standard error
    #[arg(long, requires = "seed")]
    log: bool,
    /// Threads to run on
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Stop after so many failures
    #[arg(long, default_value_t = 3)]
    failures: usize,
    /// Show the failing seeds without shortening them
    #[arg(long)]
    quick: bool,
    /// Switch each of the seeded bugs on and see how many seeds it takes to find it; print the table
    #[cfg(feature = "seeded-bugs")]
    #[arg(long)]
    seeded_bugs: bool,
    /// With --seeded-bugs: this bug only
    #[cfg(feature = "seeded-bugs")]
    #[arg(long)]
    bug: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    #[cfg(feature = "seeded-bugs")]
    if options.seeded_bugs {
        return seeded_bugs(&options);
    }
    match options.seed {
        Some(seed) => one(seed, &options),
        None => many(&options),
    }
}

fn one(seed: u64, options: &Options) -> ExitCode {
    if options.log {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().without_time().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let outcome = sim::run(&sim::plan_of(seed), options.trace);
    outcome.lines.iter().for_each(|line| println!("{line}"));
    for (what, times) in &outcome.totals {
        println!("{what:44} {times:>8}");
    }
    println!("seed {seed}: hash {:016x}", outcome.hash);
    let Some(wrong) = outcome.wrong else { return ExitCode::SUCCESS };
    println!("{wrong}");
    if !options.quick {
        println!("{}", sim::show(seed, options.trace).0);
    }
    ExitCode::FAILURE
}

#[allow(clippy::disallowed_methods)] // how long this took on the machine, for people
fn many(options: &Options) -> ExitCode {
    let begun = std::time::Instant::now();
    let report = sim::run_seeds(options.seeds.clone(), options.threads, options.failures);
    let took = Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    println!("{report}took {took:.1?} on {} threads", options.threads);
    for (seed, wrong) in &report.failed {
        println!("\nseed {seed} failed: {wrong}");
        if !options.quick {
            println!("{}", sim::show(*seed, false).0);
        }
    }
    if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(feature = "seeded-bugs")]
fn seeded_bugs(options: &Options) -> ExitCode {
    let wanted =
        |bug: &environment::seeded_bugs::Bug| options.bug.as_ref().is_none_or(|name| *name == format!("{bug:?}"));
    let bugs: Vec<_> = environment::seeded_bugs::Bug::ALL.into_iter().filter(wanted).collect();
    let found = sim::seeded_bugs::hunt(&bugs, options.seeds.end - 1, !options.quick);
    println!("{}", sim::seeded_bugs::table(&found));
    if found.iter().all(|caught| caught.by.is_some()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = |_| "FROM..TO, such as 1..1001".to_owned();
    let (from, to) = text.split_once("..").ok_or("FROM..TO, such as 1..1001")?;
    Ok(from.parse().map_err(wrong)?..to.parse().map_err(wrong)?)
}
