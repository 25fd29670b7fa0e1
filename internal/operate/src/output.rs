//! The destination of a command's lines and files.

use std::fs;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::path::Path;

use ops::OpsError;
use ops::audit::replace;
use serde::Serialize;

/// Takes the lines and files of a command: for this process's own outputs and files, or for a client's.
pub trait Output: Send + Sync {
    /// Writes a line to standard output. Succeeds even when nobody reads any more, so that the command goes on.
    ///
    /// # Errors
    /// When it cannot be written.
    fn say(&self, line: &str) -> Result<(), OpsError>;

    /// Writes a line of a stream to standard output: fails when nobody reads any more, because the command has no other
    /// purpose.
    ///
    /// # Errors
    /// When it cannot be written, or nobody reads any more.
    fn stream_line(&self, line: &str) -> Result<(), OpsError>;

    /// Writes text to standard error, as it is. Where that is closed, nothing happens.
    fn tell(&self, text: &str);

    /// Whether standard error is a terminal.
    fn is_terminal(&self) -> bool;

    /// The content of a file that the command names.
    ///
    /// # Errors
    /// The error of the operating system.
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;

    /// Replaces the text of a file that the command names, all or nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    fn replace(&self, file: &Path, text: &str) -> Result<(), OpsError>;
}

/// The outputs and files of this process.
#[derive(Debug, Clone, Copy)]
pub struct Console;

impl Output for Console {
    fn say(&self, line: &str) -> Result<(), OpsError> {
        match self.stream_line(line) {
            Err(OpsError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    fn stream_line(&self, line: &str) -> Result<(), OpsError> {
        writeln!(io::stdout().lock(), "{line}").map_err(|source| OpsError::io("writing the output", source))
    }

    fn tell(&self, text: &str) {
        let mut errors = io::stderr().lock();
        let _ = errors.write_all(text.as_bytes()).and_then(|()| errors.flush());
    }

    fn is_terminal(&self) -> bool {
        io::stderr().is_terminal()
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        fs::read(file)
    }

    fn replace(&self, file: &Path, text: &str) -> Result<(), OpsError> {
        replace(file, text)
    }
}

/// A value as JSON in one line.
pub(crate) fn text_of<T: Serialize>(value: &T) -> Result<String, OpsError> {
    serde_json::to_string(value).map_err(|error| OpsError::Failed(error.to_string()))
}
