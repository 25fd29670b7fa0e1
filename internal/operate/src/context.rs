//! The context that a command runs in, beside its engines.

use environment::{Clock, Entropy};
use ops::OpsError;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::output::{Output, text_of};

/// The context that a command runs in, beside its engines.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Takes the lines and files that the command writes.
    pub output: &'a dyn Output,
    /// The time of day.
    pub clock: &'a Clock,
    /// Randomness, for jitter.
    pub entropy: &'a Entropy,
    /// Asks the command to end.
    pub stop: &'a CancellationToken,
}

impl Context<'_> {
    /// Writes a line. The command goes on even if nobody reads any more.
    pub(crate) fn say(&self, line: impl AsRef<str>) -> Result<(), OpsError> {
        self.output.say(line.as_ref())
    }

    /// Writes a line of a stream, such as `tail`'s: fails when nobody reads any more.
    pub(crate) fn stream_line(&self, line: &str) -> Result<(), OpsError> {
        self.output.stream_line(line)
    }

    /// Writes a value as JSON in one line.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), OpsError> {
        self.say(text_of(value)?)
    }

    /// Writes that nothing was done.
    pub(crate) fn dry_run(&self) -> Result<(), OpsError> {
        self.say("nothing was done: --yes does it")
    }
}
