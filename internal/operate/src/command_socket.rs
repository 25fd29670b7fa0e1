//! The server side in a running `klatsch`: a socket in its data folder, which only its owner may use, and the commands
//! that come through it.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read as _};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use environment::{Clock, Entropy};
use eventlog::SharedLog;
use ops::{Exit, OpsError};
use store::SharedStore;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::address::{Address, SOCKET};
use crate::context::Context;
use crate::engines::Running;
use crate::remote::{Remote, STOP_WITHIN};
use crate::run::{run, unless_given_up};
use crate::wire::{Ended, Frame, REQUEST_BYTES_MAX, Request};

/// Commands that run at once.
pub const COMMANDS_MAX: usize = 8;
/// Connections that are open at once: those of commands, and as many that have not sent their request yet.
pub const CONNECTIONS_MAX: usize = 2 * COMMANDS_MAX;
/// How long a request may take to arrive.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// How often a write to a client that does not read checks whether the command is to stop.
const WRITE_WITHIN: Duration = Duration::from_millis(200);
/// How long to wait after a failed accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// The mode of the socket's file: its owner alone may use it.
const MODE: u32 = 0o600;

/// The socket, bound and listening. Dropping it removes its file.
#[derive(Debug)]
pub struct CommandSocket {
    listener: UnixListener,
    _file: SocketFile,
}

/// The context that commands are run in.
struct Inside {
    log: SharedLog,
    store: SharedStore,
    clock: Clock,
    entropy: Entropy,
    commands: Semaphore,
}

impl CommandSocket {
    /// Binds the socket in the data folder, which this process must have locked: a socket file that exists already was
    /// left behind by a process that was killed.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} is no socket", path.display()))),
            Err(_) => {}
        }
        let listener = UnixListener::bind(&Address::of(folder)?.path)?;
        let file = SocketFile(path);
        fs::set_permissions(&file.0, Permissions::from_mode(MODE))?;
        Ok(Self { listener, _file: file })
    }

    /// Runs commands on these engines until `stop`; then tells those that run to stop, and waits for them.
    ///
    /// # Errors
    /// None: a failure concerns one command only.
    pub async fn serve(
        self,
        log: SharedLog,
        store: SharedStore,
        clock: Clock,
        entropy: Entropy,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let commands = Semaphore::new(COMMANDS_MAX);
        let inside = Arc::new(Inside { log, store, clock, entropy, commands });
        let mut connections = JoinSet::new();
        loop {
            let full = connections.len() >= CONNECTIONS_MAX;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if !full => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connected(stream, Arc::clone(&inside), stop.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "no operator's command accepted");
                        stop.run_until_cancelled(sleep(ACCEPT_AGAIN)).await;
                    }
                },
            }
        }
        drop(self);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Serves a connection from its request to its end. An I/O error means that the client has closed it.
async fn connected(mut stream: UnixStream, inside: Arc<Inside>, stop: CancellationToken) {
    let asked = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        asked = timeout(REQUEST_WITHIN, asked(&mut stream)) => asked,
    };
    let Ok(Ok(asked)) = asked else { return };
    let _ = answered(stream, asked, &inside, &stop).await;
}

/// Reads the request's line.
async fn asked(stream: &mut UnixStream) -> io::Result<Result<Request, OpsError>> {
    let (mut line, most) = (Vec::new(), u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX));
    let read = BufReader::new(stream).take(most).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Request::parse(&line))
}

/// Runs the command and reports how it ended. The command is stopped when `klatsch` is, or when the client hangs up.
async fn answered(
    stream: UnixStream,
    asked: Result<Request, OpsError>,
    inside: &Arc<Inside>,
    klatsch: &CancellationToken,
) -> io::Result<()> {
    let (klatsch, stop) = (klatsch.clone(), klatsch.child_token());
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_WITHIN))?;
    let (listened, writing) = (stream.try_clone()?, stream.try_clone()?);
    let room = inside.commands.try_acquire();
    let asked = asked.and_then(|request| if room.is_ok() { Ok(request) } else { Err(too_many()) });
    // This thread ends with the connection.
    let hung_up = stop.clone();
    spawn_blocking(move || {
        until_hung_up(&listened);
        hung_up.cancel();
    });
    let (handle, inside) = (Handle::current(), Arc::clone(inside));
    let ran = spawn_blocking(move || match asked {
        Ok(request) => perform(&handle, request, writing, &inside, &stop, &klatsch),
        Err(error) => {
            let remote = Remote::new(writing, false, Vec::new(), stop);
            remote.send(&Frame::Ended(ended(Err(error))))
        }
    });
    let ran = ran.await;
    stream.shutdown(Shutdown::Both)?;
    ran.map_err(io::Error::other)?
}

fn too_many() -> OpsError {
    OpsError::Busy(format!(
        "{COMMANDS_MAX} operators' commands run inside this 'klatsch', which is the most: wait until one has ended, or \
         stop one"
    ))
}

/// Reads until the client hangs up; it sends nothing else after its request.
fn until_hung_up(mut stream: &Blocking) {
    while stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::Interrupted) {}
}

/// Runs a command on this thread, which may block.
fn perform(
    handle: &Handle,
    request: Request,
    stream: Blocking,
    inside: &Inside,
    stop: &CancellationToken,
    klatsch: &CancellationToken,
) -> io::Result<()> {
    let Request { registry, terminal, files, command } = request;
    let name = command.name();
    tracing::info!(command = name, "operator's command begun");
    let remote = Remote::new(stream, terminal, files, stop.clone());
    let outcome = handle.block_on(async {
        let mut engines = Running::new(inside.log.clone(), inside.store.clone(), registry);
        let cx = Context { output: &remote, clock: &inside.clock, entropy: &inside.entropy, stop };
        unless_given_up(run(command, &mut engines, &cx), klatsch, STOP_WITHIN).await
    });
    let ended = ended(outcome.map_err(|error| match error {
        // The process is stopping, not the command itself.
        OpsError::Stopped(words) if klatsch.is_cancelled() => OpsError::Busy(format!(
            "the 'klatsch' that ran the command was stopped before it was done: {words}; start it and try again"
        )),
        error => error,
    }));
    tracing::info!(command = name, exit = ended.exit, "operator's command ended");
    remote.send(&Frame::Ended(ended))
}

fn ended(outcome: Result<Exit, OpsError>) -> Ended {
    match outcome {
        Ok(exit) => Ended { exit: exit as u8, error: None },
        Err(error) => Ended { exit: error.exit() as u8, error: Some(error.to_string()) },
    }
}
