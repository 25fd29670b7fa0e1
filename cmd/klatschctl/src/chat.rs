//! `klatschctl chat`: the crate `terminal`, with the exit codes of this program.

use std::io::stdout;

use client::ClientError;
use environment::{Clock, Entropy};
use operate::Ended;
use ops::{Exit, OpsError};
use process::telemetry;
use terminal::{ChatArguments, TerminalError};
use tokio_util::sync::CancellationToken;

pub(crate) async fn chat(
    arguments: ChatArguments,
    clock: &Clock,
    entropy: &Entropy,
    stop: &CancellationToken,
) -> Result<Ended, OpsError> {
    let colour = telemetry::colours(&stdout());
    let exit = match terminal::chat(arguments, colour, clock, entropy, stop).await {
        Ok(terminal::Ended::Done) => Exit::Ok,
        Ok(terminal::Ended::NotAccepted) => Exit::Differs,
        Ok(terminal::Ended::Unsettled) => Exit::Unavailable,
        Err(TerminalError::Io { what, source }) => return Err(OpsError::Io { what, source }),
        Err(error) => return Ok(Ended { exit: exit_of(&error) as u8, error: Some(error.to_string()) }),
    };
    Ok(Ended { exit: exit as u8, error: None })
}

fn exit_of(error: &TerminalError) -> Exit {
    match error {
        TerminalError::Usage(_) | TerminalError::State(client::StateError::NotOne { .. }) => Exit::Usage,
        TerminalError::Client(error) => exit_of_call(error),
        TerminalError::State(client::StateError::Io { .. }) | TerminalError::Io { .. } | TerminalError::Failed(_) => {
            Exit::Failed
        }
    }
}

fn exit_of_call(error: &ClientError) -> Exit {
    match error {
        ClientError::Refused { code, .. } => match code.status() {
            500 => Exit::Failed,
            429 | 502..=599 => Exit::Unavailable,
            401 | 400 => Exit::Usage,
            _ => Exit::Differs,
        },
        ClientError::Unreachable { .. } | ClientError::TooManyOpen => Exit::Unavailable,
        ClientError::Protocol { .. } => Exit::Failed,
        ClientError::Address(_) | ClientError::Malformed(_) | ClientError::SignedOut => Exit::Usage,
    }
}
