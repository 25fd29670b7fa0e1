//! Load on a running Klatsch, and the comparison of two runs: a thin program around the crate `load`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use load::{Exit, LoadOptions, Scenario, SetupError, compare};
use process::{descriptors, telemetry};

/// The default log filter: what the report says is not logged.
const LOG_FILTER: &str = "error";

/// The exit codes, for `--help`.
const HELP: &str = "\
Exit codes:
  0   passed; of 'compare': nothing is worse
  1   the product failed: something was lost, doubled or out of order, or a
      bound was missed; of 'compare': something is worse
  3   the tool was too slow: the run proves nothing
  4   the run could not be set up, or the server's limits cut the load
  64  the call is wrong

Every latency counts from a send's intended time, whether or not earlier ones
were answered. The tool speaks the public protocol only and may run anywhere.";

/// Load on a running Klatsch: thousands of real devices over the public protocol, an oracle that looks for what is lost,
/// doubled or out of order, and figures
#[derive(Debug, Parser)]
#[command(name = "klatsch-load", version, after_help = HELP)]
struct Call {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Play a scenario
    #[command(args_override_self = true)]
    Run {
        /// The scenario
        #[arg(value_enum)]
        scenario: Scenario,
        #[command(flatten)]
        options: Box<LoadOptions>,
    },
    /// Compare two runs of one scenario, or several of each side: 'compare A1.json,A2.json B1.json,B2.json'. Worse is
    /// what differs by more than 2 ms, more than a tenth, and more than the runs of either side differ
    Compare {
        /// The reports of the first side
        #[arg(value_delimiter = ',', num_args = 1, required = true, value_name = "FILE,FILE")]
        first: Vec<PathBuf>,
        /// The reports of the second side
        #[arg(value_delimiter = ',', num_args = 1, required = true, value_name = "FILE,FILE")]
        second: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let call = match Call::try_parse() {
        Ok(call) => call,
        Err(error) => {
            // Ignored: the terminal may be closed.
            let _ = error.print();
            return code(if error.use_stderr() { Exit::Usage } else { Exit::Passed });
        }
    };
    telemetry::init(LOG_FILTER);
    let ended = match call.action {
        Action::Run { scenario, options } => play(scenario, *options),
        Action::Compare { first, second } => compared(&first, &second),
    };
    match ended {
        Ok(exit) => code(exit),
        Err(error) => {
            eprintln!("klatsch-load: {error}");
            code(error.exit())
        }
    }
}

fn play(scenario: Scenario, options: LoadOptions) -> Result<Exit, SetupError> {
    descriptors::raise().map_err(|fault| SetupError::Other(fault.to_string()))?;
    let json = options.json().map(ToOwned::to_owned);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads()).enable_all().build();
    let runtime = runtime.map_err(|source| SetupError::Io { what: "starting".into(), source })?;
    // Spawned, so that it runs on the tool's own threads and none besides.
    let report = runtime.block_on(async { tokio::spawn(load::run(scenario, options)).await });
    let report = report.map_err(|error| SetupError::Other(format!("the run was lost: {error}")))??;
    print!("{report}");
    if let Some(path) = json {
        report.save(&path)?;
    }
    Ok(report.outcome())
}

fn compared(first: &[PathBuf], second: &[PathBuf]) -> Result<Exit, SetupError> {
    let comparison = compare::compare(&compare::read(first)?, &compare::read(second)?)?;
    print!("{comparison}");
    Ok(comparison.outcome())
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}
