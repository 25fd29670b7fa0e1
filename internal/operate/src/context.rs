//! What a command is given beside its engines.

use environment::{Clock, Entropy};
use ops::OpsError;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::output::{Output, text_of};

/// What a command is given beside its engines.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where its words and files go.
    pub output: &'a dyn Output,
    /// The time.
    pub clock: &'a Clock,
    /// Randomness, for jitter.
    pub entropy: &'a Entropy,
    /// Asks it to end.
    pub stop: &'a CancellationToken,
}

impl Context<'_> {
    /// Writes a line. A reader who has seen enough is no reason to stop what is being done.
    pub(crate) fn say(&self, line: impl AsRef<str>) -> Result<(), OpsError> {
        self.output.say(line.as_ref())
    }

    /// Writes a line, for nothing but a reader.
    pub(crate) fn insist(&self, line: &str) -> Result<(), OpsError> {
        self.output.insist(line)
    }

    /// Writes a value as JSON in one line.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), OpsError> {
        self.say(text_of(value)?)
    }

    /// Says that nothing was done.
    pub(crate) fn dry_run(&self) -> Result<(), OpsError> {
        self.say("nothing was done: --yes does it")
    }
}
