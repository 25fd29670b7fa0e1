//! Writing to the terminal. A reader who has gone is an error like any other, not a panic.

use std::io::Write;

use ops::OpsError;
use serde::Serialize;

/// Writes a line to standard output.
pub(crate) fn say(line: impl AsRef<str>) -> Result<(), OpsError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", line.as_ref()).map_err(|source| OpsError::io("writing the output", source))
}

/// Writes a value as JSON in one line.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), OpsError> {
    say(serde_json::to_string(value).map_err(|error| OpsError::Failed(error.to_string()))?)
}

/// Says that nothing was done.
pub(crate) fn dry_run() -> Result<(), OpsError> {
    say("nothing was done: --yes does it")
}
