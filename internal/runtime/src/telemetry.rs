//! The log: one line per fact on standard error, as text for people or as JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// `json` for machines; anything else is text.
pub const FORMAT_ENV: &str = "KLATSCH_LOG_FORMAT";
/// What is logged, in the syntax of `tracing_subscriber::EnvFilter`; `info` when unset.
pub const FILTER_ENV: &str = "KLATSCH_LOG";

/// Ours at `info`; the embedded engine's library says nothing there that an operator needs.
const DEFAULT_FILTER: &str = "info,fjall=warn,lsm_tree=warn";

/// Starts the log. Calling it again, as every test may, changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env(FILTER_ENV);
    let fault = filter.as_ref().err().filter(|_| std::env::var_os(FILTER_ENV).is_some()).map(ToString::to_string);
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let json = std::env::var(FORMAT_ENV).is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    // An error means that a subscriber is there already, which is what is wanted.
    let _ = if json { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
    if let Some(error) = fault {
        tracing::warn!(error, "the log filter in {FILTER_ENV} is malformed: using '{DEFAULT_FILTER}'");
    }
}
