//! What the command line asks for.

use anyhow::{Context as _, Result, bail, ensure};

/// How it is used.
pub(crate) const USAGE: &str =
    "usage: bench NAME [--devices N] [--rounds N] [--rate N] [--seconds N] [--only CONTESTANT]; the names:
  backlog   frames that came while the websocket service was stopped: frames per CPU second
  paced     frames that come at a steady rate: frames per CPU second";

/// The options, all with defaults.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// Sockets.
    pub(crate) devices: usize,
    /// How often each contestant is measured, in turns.
    pub(crate) rounds: usize,
    /// Frames a second, over all devices.
    pub(crate) rate: u64,
    /// How long a steady rate is kept.
    pub(crate) seconds: u64,
    /// Only the contestant of this name.
    pub(crate) only: Option<String>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { devices: 1_000, rounds: 5, rate: 20_000, seconds: 20, only: None }
    }
}

impl Wishes {
    /// Whether the contestant of that name is to be measured.
    pub(crate) fn wants(&self, contestant: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == contestant)
    }

    pub(crate) fn parse(options: &[String]) -> Result<Self> {
        let (mut wishes, mut options) = (Self::default(), options.iter());
        while let Some(option) = options.next() {
            let value = options.next().with_context(|| format!("{option} needs a value\n{USAGE}"))?;
            let number = || value.parse().with_context(|| format!("{option} needs a number, not '{value}'"));
            match option.as_str() {
                "--devices" => wishes.devices = usize::try_from(number()?)?,
                "--rounds" => wishes.rounds = usize::try_from(number()?)?,
                "--rate" => wishes.rate = number()?,
                "--seconds" => wishes.seconds = number()?,
                "--only" => wishes.only = Some(value.clone()),
                _ => bail!(USAGE),
            }
        }
        ensure!(wishes.devices > 0 && wishes.rounds > 0 && wishes.rate > 0 && wishes.seconds > 0, "nothing to measure");
        Ok(wishes)
    }
}
