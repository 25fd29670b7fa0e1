//! The log: one line per fact on standard error, as text for people or as JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable with the format of the log: `json` for machines; anything else is text.
pub const FORMAT_ENV: &str = "KLATSCH_LOG_FORMAT";
/// The variable that says what is logged, in the syntax of `tracing_subscriber::EnvFilter`.
pub const FILTER_ENV: &str = "KLATSCH_LOG";
/// The same variable of every program that logs with `tracing`; [`FILTER_ENV`] counts where both are set.
pub const SHARED_FILTER_ENV: &str = "RUST_LOG";

/// The filter of services by default. At `info` the embedded engine's library logs nothing that an operator needs.
pub const SERVICE_FILTER: &str = "info,fjall=warn,lsm_tree=warn";
/// The filter of a program that a person has started in a terminal.
pub const TERMINAL_FILTER: &str = "warn";

/// The end of every program's `--help`: variables that no option stands for.
pub const HELP: &str = "\
Environment:
  KLATSCH_LOG         What is logged, on standard error: error, warn, info, debug
                      or trace, or by module: info,sockets=debug [or: RUST_LOG]
  KLATSCH_LOG_FORMAT  json for machines
  NO_COLOR            When set, nothing is coloured";

/// The filter that the environment asks for, or `default`; and what is wrong with what the environment asks for.
#[must_use]
pub fn filter(default: &str) -> (EnvFilter, Option<String>) {
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let Some(name) = [FILTER_ENV, SHARED_FILTER_ENV].into_iter().find(|name| set(name)) else {
        return (EnvFilter::new(default), None);
    };
    match EnvFilter::try_from_env(name) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(default), Some(format!("{name}: {error}"))),
    }
}

/// Whether this output is a terminal that may be coloured (<https://no-color.org>).
#[must_use]
pub fn colours(output: &impl IsTerminal) -> bool {
    output.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Starts the log with the filter of the environment, or `default`. Calling it again, as every test may, changes nothing.
pub fn init(default: &str) {
    let (filter, fault) = filter(default);
    let colours = colours(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let json = std::env::var(FORMAT_ENV).is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    // An error means that a subscriber is set already, which is intended.
    let _ = if json { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
    if let Some(error) = fault {
        tracing::warn!(error, default, "the log filter is malformed: using the default");
    }
}
