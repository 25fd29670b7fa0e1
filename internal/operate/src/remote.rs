//! The outputs and files of a client, for the `klatsch` that runs its command.

use std::io::{self, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ops::OpsError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::output::Output;
use crate::wire::{Attached, Frame};

/// How long a command may take to end in order when the process stops; and, after that, its client to read the output.
/// The services stop after that, and need most of the time that the process has.
pub const STOP_WITHIN: Duration = Duration::from_secs(1);

/// A client. Writing to it blocks while it does not read, as with a terminal, until the command is told to stop: so a
/// command runs on a thread of its own.
pub(crate) struct Remote {
    /// The connection, with a short time limit on writing. `None` once the client is gone.
    stream: Mutex<Option<UnixStream>>,
    terminal: bool,
    files: Mutex<Vec<Attached>>,
    stop: CancellationToken,
}

impl Remote {
    pub(crate) fn new(stream: UnixStream, terminal: bool, files: Vec<Attached>, stop: CancellationToken) -> Self {
        Self { stream: Mutex::new(Some(stream)), terminal, files: Mutex::new(files), stop }
    }

    /// Sends a whole frame.
    pub(crate) fn send(&self, frame: &Frame) -> io::Result<()> {
        let line = frame.line()?;
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let open = stream.as_ref().ok_or(ErrorKind::BrokenPipe)?;
        let written = self.write(open, &line);
        if written.is_err() {
            // Half a frame was sent: nothing can follow it.
            *stream = None;
        }
        written
    }

    fn write(&self, mut stream: &UnixStream, mut rest: &[u8]) -> io::Result<()> {
        let mut stopping = None;
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(0) => return Err(ErrorKind::BrokenPipe.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The time limit of the write.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.stop.is_cancelled() && stopping.get_or_insert_with(Instant::now).elapsed() >= STOP_WITHIN {
                        return Err(ErrorKind::BrokenPipe.into());
                    }
                }
                Err(_) => return Err(ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(())
    }
}

impl Output for Remote {
    /// Nothing happens where the client is gone: its token stops the command.
    fn say(&self, line: &str) -> Result<(), OpsError> {
        match self.send(&Frame::Say(line.to_owned())) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(OpsError::io("writing the output", error)),
            _ => Ok(()),
        }
    }

    fn stream_line(&self, line: &str) -> Result<(), OpsError> {
        self.send(&Frame::Insist(line.to_owned())).map_err(|error| OpsError::io("writing the output", error))
    }

    fn tell(&self, text: &str) {
        let _ = self.send(&Frame::Tell(text.to_owned()));
    }

    fn is_terminal(&self) -> bool {
        self.terminal
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let attached = files.iter().find(|attached| attached.file == file).ok_or(ErrorKind::NotFound)?;
        attached.read.clone().map(String::into_bytes).map_err(io::Error::from_raw_os_error)
    }

    fn replace(&self, file: &Path, text: &str) -> Result<(), OpsError> {
        let frame = Frame::Replace { file: file.to_owned(), text: text.to_owned() };
        self.send(&frame).map_err(|error| OpsError::io(format!("writing {}", file.display()), error))?;
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attached) = files.iter_mut().find(|attached| attached.file == file) {
            attached.read = Ok(text.to_owned());
        }
        Ok(())
    }
}
