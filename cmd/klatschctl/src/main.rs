//! The command line for operators, and for chatting: a thin program around the crates `operate` and `terminal`.

mod chat;
mod commands;
mod engines;
#[cfg(test)]
mod exits;
mod keys;
mod ledger;
mod options;

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use operate::Ended;
use ops::{Exit, OpsError};
use process::telemetry;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use options::Options;

/// How long unfinished blocking work may delay the exit: a read from the terminal never ends.
const BLOCKING_LEFT: Duration = Duration::from_millis(100);

/// How long a command may go on after it was told to stop: three times what `operate` allows. Only one that does not
/// notice takes so long, such as one that writes to a pipe that nobody reads.
const GIVE_UP_AFTER: Duration = operate::END_WITHIN.saturating_mul(3);

/// The default log filter. librdkafka's messages only repeat the error that follows.
const LOG_FILTER: &str = "warn,eventlog_kafka=error";

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // Ignored: the terminal may be closed.
            let _ = error.print();
            return code(if error.use_stderr() { Exit::Usage } else { Exit::Ok });
        }
    };
    telemetry::init(LOG_FILTER);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&OpsError::io("starting", error)),
    };
    let outcome = runtime.block_on(async {
        let stop = process::shutdown::on_signals().map_err(|error| OpsError::io("listening to signals", error))?;
        tokio::spawn(give_up(stop.clone()));
        commands::run(options, &stop).await
    });
    runtime.shutdown_timeout(BLOCKING_LEFT);
    match outcome {
        Ok(Ended { exit, error }) => {
            if let Some(error) = error {
                eprintln!("klatschctl: {error}");
            }
            ExitCode::from(exit)
        }
        // The reader of the output (such as `head`) has closed the pipe: this is no failure.
        Err(OpsError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Ends the process when it was told to stop and still runs.
async fn give_up(stop: CancellationToken) {
    stop.cancelled().await;
    sleep(GIVE_UP_AFTER).await;
    std::process::exit(Exit::Stopped as i32);
}

fn failed(error: &OpsError) -> ExitCode {
    eprintln!("klatschctl: {error}");
    code(error.exit())
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}
