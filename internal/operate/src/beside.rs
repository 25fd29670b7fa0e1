//! The client's side: handing a command to the `klatsch` that has the data folder.

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
pub struct Beside {
    stream: UnixStream,
}

impl Beside {
    /// Connects to the `klatsch` that has the folder; `None` when none answers there.
    #[must_use]
    pub fn connect(folder: &Path) -> Option<Self> {
        let address = Address::of(folder).ok()?;
        UnixStream::connect(&address.path).ok().map(|stream| Self { stream })
    }

    /// Has a command run there, and puts out here what it says. Once `stop` is cancelled, the command is told so.
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
            // One that does not take it says why not.
            let _ = (&self.stream).write_all(line.as_bytes());
            self.stream
        });
        // Told to stop before it has the whole request, 'klatsch' would hang up without a word.
        let stream = handed_over.await.map_err(|error| OpsError::Failed(error.to_string()))?;
        let exchanged = tokio::task::spawn_blocking(move || exchange(&stream, &replaces, &output));
        let mut exchanged = std::pin::pin!(exchanged);
        tokio::select! {
            biased;
            ended = exchanged.as_mut() => return flat(ended),
            () = stop.cancelled() => {}
        }
        // The other side has the command end in order, and still answers. A connection that is closed has ended already.
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
            Ok(Some(Frame::Insist(line))) => output.insist(&line)?,
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
