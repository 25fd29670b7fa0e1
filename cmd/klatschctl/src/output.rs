//! Writing to the terminal.

use std::io::{ErrorKind, Write};

use ops::OpsError;
use serde::Serialize;

/// Writes a line to standard output. A reader who has seen enough is no reason to stop what is being done.
pub(crate) fn say(line: impl AsRef<str>) -> Result<(), OpsError> {
    match insist(line.as_ref()) {
        Err(OpsError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a line to standard output, for nothing but a reader.
pub(crate) fn insist(line: &str) -> Result<(), OpsError> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(|source| OpsError::io("writing the output", source))
}

/// Writes a value as JSON in one line.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), OpsError> {
    say(text_of(value)?)
}

/// A value as JSON in one line.
pub(crate) fn text_of<T: Serialize>(value: &T) -> Result<String, OpsError> {
    serde_json::to_string(value).map_err(|error| OpsError::Failed(error.to_string()))
}

/// Says that nothing was done.
pub(crate) fn dry_run() -> Result<(), OpsError> {
    say("nothing was done: --yes does it")
}
