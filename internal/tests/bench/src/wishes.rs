//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bench::processes::Cores;

/// How it is used.
pub(crate) const USAGE: &str = "\
usage: bench NAME [OPTIONS]
       bench compare BEFORE.json AFTER.json

On Kafka (with 'servers run cql registry -- bench ...'):
  backlog        frames that came while the websocket service was stopped
  paced          frames that come at a steady rate
  idle           memory and CPU of sockets that nothing is sent to
  latency        messages through the services: to the ack, to another device
  storage        a backlog of the storage consumer
  consumers      a backlog of both consumers, without their final write
  records        delivery records of a message
On the embedded engines:
  embedded       messages to klatsch
  members        the cost of a message by the members of its conversation
  conversations  the cost of a message by the number of cold conversations
  volume         memory, restart and disk after many messages

  --rounds N (5)         how often each contestant is measured, in turns
  --devices N            sockets
  --senders N (64)       messages that are not acknowledged yet, at most
  --messages N           messages of a backlog
  --rate N               frames or messages a second, where they are paced
  --seconds N            how long a rate is kept
  --only CONTESTANT      measures only this one
  --cores LIST (0)       the cores of what is measured; everything else has
                         the others, or all where there are none
  --out FILE             the result file (bench-NAME-TIME.json)";

/// Sockets, unless another number is asked for.
const DEVICES: usize = 1_000;

/// The options, all with defaults.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// Sockets; each row has its own default.
    pub(crate) devices: Option<usize>,
    /// Messages that are not acknowledged yet.
    pub(crate) senders: usize,
    /// How often each contestant is measured, in turns.
    pub(crate) rounds: usize,
    /// Frames or messages a second, over all devices; each row has its own default.
    pub(crate) rate: Option<u64>,
    /// How long a rate is kept; each row has its own default.
    pub(crate) seconds: Option<u64>,
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
            devices: None,
            senders: 64,
            rounds: 5,
            rate: None,
            seconds: None,
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

    pub(crate) fn devices(&self) -> usize {
        self.devices.unwrap_or(DEVICES)
    }

    /// How long a rate is kept; so many seconds, unless another time was asked for.
    pub(crate) fn time(&self, seconds: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(seconds))
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
                "--devices" => wishes.devices = Some(usize::try_from(number()?)?),
                "--senders" => wishes.senders = usize::try_from(number()?)?,
                "--rounds" => wishes.rounds = usize::try_from(number()?)?,
                "--rate" => wishes.rate = Some(number()?),
                "--seconds" => wishes.seconds = Some(number()?),
                "--messages" => wishes.messages = Some(usize::try_from(number()?)?),
                "--only" => wishes.only = Some(value.clone()),
                "--cores" => wishes.cores = Cores::parse(value)?,
                "--out" => wishes.out = Some(value.into()),
                _ => bail!("{option} is no option\n{USAGE}"),
            }
        }
        Ok(wishes)
    }
}
