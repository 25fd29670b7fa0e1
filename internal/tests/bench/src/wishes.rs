//! What the command line asks for.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use bench::processes::Cores;

/// How it is used.
pub(crate) const USAGE: &str = "\
usage: bench NAME [OPTIONS]

  backlog    frames that came while the websocket service was stopped
  paced      frames that come at a steady rate
  latency    messages through the services: send to ack, send to another device
  storage    a backlog of the storage consumer
  embedded   messages to klatsch, on the embedded engines

  --rounds N (5)         how often each contestant is measured, in turns
  --devices N (1000)     sockets
  --senders N (64)       messages that are not acknowledged yet, at most
  --rate N               frames or messages a second, where they are paced
  --seconds N (20)       how long a rate is kept
  --messages N           messages of a backlog
  --only CONTESTANT      measures only this one
  --cores LIST (0)       the cores of what is measured; everything else has
                         the others, or all where there are none
  --out FILE             the result file (bench-NAME-TIME.json)";

/// The options, all with defaults.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// Sockets.
    pub(crate) devices: usize,
    /// Messages that are not acknowledged yet.
    pub(crate) senders: usize,
    /// How often each contestant is measured, in turns.
    pub(crate) rounds: usize,
    /// Frames or messages a second, over all devices; each row has its own default.
    pub(crate) rate: Option<u64>,
    /// How long a rate is kept.
    pub(crate) seconds: u64,
    /// Messages of a backlog; each row has its own default.
    pub(crate) messages: Option<usize>,
    /// Only the contestant of this name.
    pub(crate) only: Option<String>,
    /// The cores of the contestants.
    pub(crate) cores: Cores,
    /// The result file.
    pub(crate) out: Option<PathBuf>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            devices: 1_000,
            senders: 64,
            rounds: 5,
            rate: None,
            seconds: 20,
            messages: None,
            only: None,
            cores: Cores::default(),
            out: None,
        }
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
            let number = || match value.parse() {
                Ok(0) | Err(_) => bail!("{option} needs a number above 0, not '{value}'"),
                Ok(number) => Ok(number),
            };
            match option.as_str() {
                "--devices" => wishes.devices = usize::try_from(number()?)?,
                "--senders" => wishes.senders = usize::try_from(number()?)?,
                "--rounds" => wishes.rounds = usize::try_from(number()?)?,
                "--rate" => wishes.rate = Some(number()?),
                "--seconds" => wishes.seconds = number()?,
                "--messages" => wishes.messages = Some(usize::try_from(number()?)?),
                "--only" => wishes.only = Some(value.clone()),
                "--cores" => wishes.cores = Cores::parse(value)?,
                "--out" => wishes.out = Some(value.into()),
                _ => bail!("{option} is no option\n{USAGE}"),
            }
        }
        ensure!(wishes.senders <= wishes.devices, "each sender needs a device of its own");
        Ok(wishes)
    }
}
