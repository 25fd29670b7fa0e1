//! Executes the command that the options name: in this process, or inside the `klatsch` that has the data folder
//! open.

use std::time::Duration;

use clap::CommandFactory as _;
use environment::{Clock, Entropy};
use operate::{CommandClient, Console, Context, Ended, Output as _};
use ops::{Exit, OpsError};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;
use crate::options::{Command, Options};
use crate::{chat, keys, ledger};

/// How long to wait for a process that has the data folder open and accepts no commands: a `klatsch` that starts
/// or stops.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// How often to check meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn run(options: Options, stop: &CancellationToken) -> Result<Ended, OpsError> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let command = match options.command {
        Command::Chat(options) => return chat::chat(options, &clock, &entropy, stop).await,
        Command::Keys(keys) => return keys::run(keys, &options.engines, &clock, &entropy).map(ended),
        Command::Ledger(options) => return ledger::run(options).map(ended),
        Command::Completions { shell } => return completions(shell).map(ended),
        Command::Operate(command) => command,
    };
    let mut engines = Engines::new(&options.engines, &clock)?;
    if command.needs_engines() {
        if let Some(beside) = beside(&mut engines, stop).await {
            return beside.run(command, options.engines.registry, Console, stop).await;
        }
        if stop.is_cancelled() {
            return Err(OpsError::Stopped("it was not begun".into()));
        }
    }
    let cx = Context { output: &Console, clock: &clock, entropy: &entropy, stop };
    operate::run(command, &mut engines, &cx).await.map(ended)
}

fn ended(exit: Exit) -> Ended {
    Ended { exit: exit as u8, error: None }
}

/// A client for the `klatsch` that has the data folder open. `None` if no process has it open, or that process
/// accepts no commands.
async fn beside(engines: &mut Engines, stop: &CancellationToken) -> Option<CommandClient> {
    let until = Instant::now() + TAKEN_WITHIN;
    loop {
        let folder = engines.in_use()?;
        let beside = CommandClient::connect(&folder);
        if beside.is_some() || Instant::now() >= until {
            return beside;
        }
        stop.run_until_cancelled(sleep(LOOK_EVERY)).await?;
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, OpsError> {
    let (mut command, mut script) = (Options::command(), Vec::new());
    clap_complete::generate(shell, &mut command, "klatschctl", &mut script);
    Console.stream_line(String::from_utf8_lossy(&script).trim_end()).map(|()| Exit::Ok)
}
