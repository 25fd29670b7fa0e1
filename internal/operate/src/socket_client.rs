//! The client's side: hands a command to the `klatsch` that has the data folder open.

use std::io::{BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ops::{Exit, OpsError};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::address::Address;
use crate::command::Command;
use crate::output::Output;
use crate::wire::{Ended, Frame, Request};

/// A connection to a running `klatsch`.
#[derive(Debug)]
pub struct CommandClient {
    stream: UnixStream,
}

impl CommandClient {
    /// Connects to the `klatsch` that has the folder open; `None` when none answers there.
    #[must_use]
    pub fn connect(folder: &Path) -> Option<Self> {
        let address = Address::of(folder).ok()?;
        UnixStream::connect(&address.path).ok().map(|stream| Self { stream })
    }

    /// Runs a command there and prints its output here. Once `stop` is cancelled, the command is told to stop.
    ///
    /// # Errors
    /// When it could not be handed over, its output cannot be written here, or `klatsch` ended before it.
    pub async fn run(
        self,
        command: Command,
        registry: Option<String>,
        output: impl Output + 'static,
        stop: &CancellationToken,
    ) -> Result<Ended, OpsError> {
        let replaces: Vec<PathBuf> = command.replaces().into_iter().map(Path::to_owned).collect();
        let line = Request::new(command, registry, &output).line()?;
        let failed = |error| OpsError::io("talking with the running 'klatsch'", error);
        let stopping = self.stream.try_clone().map_err(failed)?;
        if stop.is_cancelled() {
            return Err(OpsError::Stopped("it was not begun".into()));
        }
        let handed_over = tokio::task::spawn_blocking(move || {
            // A server that refuses the request says why in its answer.
            let _ = (&self.stream).write_all(line.as_bytes());
            self.stream
        });
        // The whole request goes out even when told to stop: otherwise 'klatsch' would hang up without an answer.
        let stream = handed_over.await.map_err(|error| OpsError::Failed(error.to_string()))?;
        let exchanged = tokio::task::spawn_blocking(move || exchange(&stream, &replaces, &output));
        let mut exchanged = std::pin::pin!(exchanged);
        tokio::select! {
            biased;
            ended = exchanged.as_mut() => return flat(ended),
            () = stop.cancelled() => {}
        }
        // The server lets the command end in order, and still answers. A connection that is closed has ended already.
        let _ = stopping.shutdown(Shutdown::Write);
        let mut ended = flat(exchanged.await)?;
        if ended.exit == Exit::Stopped as u8
            && let Some(words) = &mut ended.error
        {
            words.push_str("; the 'klatsch' that ran it goes on");
        }
        Ok(ended)
    }
}

fn flat(ended: Result<Result<Ended, OpsError>, JoinError>) -> Result<Ended, OpsError> {
    ended.unwrap_or_else(|error| Err(OpsError::Failed(error.to_string())))
}

fn exchange(stream: &UnixStream, replaces: &[PathBuf], output: &dyn Output) -> Result<Ended, OpsError> {
    let mut frames = BufReader::new(stream);
    loop {
        match Frame::read(&mut frames) {
            Ok(Some(Frame::Say(line))) => output.say(&line)?,
            Ok(Some(Frame::Insist(line))) => output.stream_line(&line)?,
            Ok(Some(Frame::Tell(text))) => output.tell(&text),
            Ok(Some(Frame::Replace { file, text })) if replaces.contains(&file) => output.replace(&file, &text)?,
            Ok(Some(Frame::Replace { file, .. })) => {
                return Err(OpsError::Failed(format!(
                    "'klatsch' wants to write {}, which was not named",
                    file.display()
                )));
            }
            Ok(Some(Frame::Ended(ended))) => return Ok(ended),
            Ok(None) | Err(_) => {
                return Err(OpsError::Busy(
                    "the 'klatsch' that ran the command has ended, or hung up, before it was done: what was done by \
                     then is done; start it and try again"
                        .to_owned(),
                ));
            }
        }
    }
}
