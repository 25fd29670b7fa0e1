//! From `main` to the service and back to an exit code.
//!
//! 0: ended as asked. 64: the configuration is at fault and nothing was started. 70: failed, or did not end in order.

use std::error::Error;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{descriptors, shutdown, telemetry};

/// The configuration is at fault (`EX_USAGE` of sysexits.h): starting again will not help.
pub const EXIT_CONFIG: u8 = 64;
/// The program failed (`EX_SOFTWARE`): starting again may help.
pub const EXIT_FAILED: u8 = 70;

/// How long blocking work that nothing waits for any more may delay the exit.
const BLOCKING_LEFT: Duration = Duration::from_millis(500);

/// A fault of the configuration or of the machine that a person has to mend: every one that was found, in words.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct ConfigFault {
    words: String,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ConfigFault {
    /// A fault in words.
    pub fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), cause: None }
    }

    /// A fault in words whose cause is in them already.
    pub fn caused(words: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { words: words.into(), cause: Some(cause.into()) }
    }

    /// All of several faults, or nothing when there is none.
    ///
    /// # Errors
    /// When there is a fault.
    pub fn all(faults: &[String]) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self::new(faults.join("; "))) }
    }
}

/// Fails to compile where a program is built with seeded bugs, unless the feature `seeded-bugs` of this crate asks for
/// such a program.
struct NoSeededBugs<O>(std::marker::PhantomData<O>);

impl<O> NoSeededBugs<O> {
    const CHECK: () = assert!(
        !environment::seeded_bugs::COMPILED_IN || cfg!(feature = "seeded-bugs"),
        "a program must not be built with the feature `seeded-bugs`"
    );
}

/// Runs a whole program: options from flags and environment, the log, the signals, `run`, the deadline, the exit code.
///
/// `run` is given the token that SIGTERM and Ctrl-C cancel; after that it has [`shutdown::END_WITHIN`] to end. The
/// log's default filter is that of services.
pub fn program<O, R, E>(run: impl FnOnce(O, CancellationToken) -> R) -> ExitCode
where
    O: clap::Parser,
    R: Future<Output = Result<(), E>>,
    E: AsRef<dyn Error + Send + Sync>,
{
    program_logging(telemetry::SERVICE_FILTER, run)
}

/// Like [`program`], with another default filter of the log.
pub fn program_logging<O, R, E>(default: &str, run: impl FnOnce(O, CancellationToken) -> R) -> ExitCode
where
    O: clap::Parser,
    R: Future<Output = Result<(), E>>,
    E: AsRef<dyn Error + Send + Sync>,
{
    program_ending_later(default, |_| Duration::ZERO, run)
}

/// Like [`program_logging`], for a program whose options may ask for a later end: by `later` beyond
/// [`shutdown::END_WITHIN`].
pub fn program_ending_later<O, R, E>(
    default: &str,
    later: impl FnOnce(&O) -> Duration,
    run: impl FnOnce(O, CancellationToken) -> R,
) -> ExitCode
where
    O: clap::Parser,
    R: Future<Output = Result<(), E>>,
    E: AsRef<dyn Error + Send + Sync>,
{
    const { NoSeededBugs::<O>::CHECK }
    let matches = O::command().after_help(telemetry::HELP).try_get_matches();
    let options = match matches.and_then(|matches| O::from_arg_matches(&matches)) {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    telemetry::init(default);
    if let Err(fault) = descriptors::raise() {
        return failed(&fault);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let end_within = shutdown::END_WITHIN + later(&options);
    let code = runtime.block_on(async {
        match shutdown::on_signals() {
            Ok(token) => match shutdown::until_ended(&token, end_within, run(options, token.clone())).await {
                Some(result) => main_exit(result),
                None => ExitCode::from(EXIT_FAILED),
            },
            Err(error) => failed(&error),
        }
    });
    runtime.shutdown_timeout(BLOCKING_LEFT);
    code
}

/// Logs what went wrong, if anything did, and returns the exit code for it.
pub fn main_exit<E: AsRef<dyn Error + Send + Sync>>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

fn failed(error: &(dyn Error + 'static)) -> ExitCode {
    let code = if is_config_fault(error) { EXIT_CONFIG } else { EXIT_FAILED };
    let error = in_words(error);
    if tracing::dispatcher::has_been_set() {
        tracing::error!(error, exit_code = code, "ended with an error");
    } else {
        eprintln!("{error}");
    }
    ExitCode::from(code)
}

/// Prints clap's message. Help and version are no faults; all else that clap reports is a fault of the configuration.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a standard error that is closed.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS }
}

fn is_config_fault(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<ConfigFault>())
}

/// The error and its causes in one line, leaving out causes that the text before them has said already.
#[must_use]
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    for cause in std::iter::successors(error.source(), |&error| error.source()) {
        let cause = cause.to_string();
        if !words.contains(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("starting")]
    struct Outer(#[source] ConfigFault);

    #[test]
    fn a_configuration_fault_is_found_anywhere_in_the_chain() {
        let fault = Outer(ConfigFault::caused("8080 is in use", std::io::Error::other("busy")));
        assert!(is_config_fault(&fault));
        assert_eq!(in_words(&fault), "starting: 8080 is in use: busy");
        assert!(!is_config_fault(&std::io::Error::other("gone")));
    }
}
