//! One server's process: started, watched until it answers, stopped in every way that a test needs, never left behind.
//!
//! Two small shell processes stand beside each JVM, because a JVM must not outlive the test process even when that is
//! killed, and nothing in this process runs any more then:
//! - The JVM begins as a shell that waits for a line before it becomes (`exec`) the JVM, under the same process id.
//!   It gets that line only when its guard stands.
//! - The guard waits on a pipe whose other end only this process holds. A line means "dismissed". End of file without
//!   one means that this process is gone: the guard kills the JVM and removes its data folder.
//!
//! Both are in process groups of their own, so that Ctrl-C in a terminal reaches this process alone.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::probe;

/// The slowest (Cassandra, cold disk, two busy cores) takes a third of this.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// A clean stop flushes; Cassandra takes five seconds.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
/// How often readiness and the end of a process are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How much of the log an error shows.
const LOG_LINES_SHOWN: usize = 40;

const LAUNCHER: &str = r#"read -r _ && exec "$@" </dev/null"#;
/// Waits for the JVM's end before it removes the folder, which the JVM would otherwise write into again.
const GUARD: &str = r#"read -r _ && exit
kill -KILL "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 0.2; done
rm -rf "$2""#;

/// What starts a server, again and again with the same ports and the same data.
#[derive(Debug)]
pub(super) struct Launch {
    /// For people: in errors and in the data folder's name.
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) question: Question,
}

/// How to ask whether it is ready.
#[derive(Debug)]
pub(super) enum Question {
    Kafka { address: String },
    Cql { address: String },
    Registry { url: String },
}

/// A server started by this process, with its data folder. Dropping it kills the server and removes the folder.
#[derive(Debug)]
pub struct Server {
    launch: Launch,
    /// None between a stop or kill and the next restart. Stands before the folder, because fields are dropped in order.
    running: Option<Running>,
    /// Settings, data and log.
    folder: TempDir,
}

impl Server {
    /// Starts a server in a folder made by [`fresh_folder`] and waits until it is ready.
    pub(super) async fn start(launch: Launch, folder: TempDir) -> Result<Self> {
        let mut server = Self { launch, running: None, folder };
        server.run().await?;
        Ok(server)
    }

    /// The process id of the running server.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.jvm.id())
    }

    /// The folder with its settings, data and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of what it wrote to its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Ends it at once, as `kill -9` does. What it had not handed to the operating system is lost.
    ///
    /// # Errors
    /// When it is not running, or does not end.
    pub async fn kill(&mut self) -> Result<()> {
        self.running()?.kill()?;
        self.ended().await?;
        Ok(())
    }

    /// Asks it to end in order (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it is not running, or does not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        let running = self.running()?;
        running.signal("TERM")?;
        // A stopped process takes the signal only when it goes on.
        running.signal("CONT")?;
        self.ended().await?;
        Ok(())
    }

    /// Freezes it (SIGSTOP): its sockets stay open and nothing answers.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&mut self) -> Result<()> {
        self.running()?.signal("STOP")
    }

    /// Lets a frozen one go on (SIGCONT).
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&mut self) -> Result<()> {
        self.running()?.signal("CONT")
    }

    /// Starts it again with the same ports and the same data, after stopping it in order if it still runs.
    ///
    /// # Errors
    /// When it does not end, or is not ready again in time.
    pub async fn restart(&mut self) -> Result<()> {
        if self.running.is_some() {
            self.stop().await?;
        }
        self.run().await
    }

    async fn run(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let running = Running::start(&self.launch, self.folder.path(), &log)
            .with_context(|| format!("starting {} with {}", self.launch.name, self.launch.program.display()))?;
        self.running = Some(running);
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = self.launch.question.ask().await;
            // Asked first, believed second: an answer from a port whose server has died is somebody else's.
            if let Some(status) = self.running()?.jvm.try_wait()? {
                bail!(
                    "{} ended with {status} before it was ready; its log ends:\n{}",
                    self.launch.name,
                    self.log_tail()
                );
            }
            match answer {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    let error = error.context(format!("its log ends:\n{}", self.log_tail()));
                    return Err(error.context(format!("{} was not ready within {READY_WITHIN:?}", self.launch.name)));
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn ended(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + STOPPED_WITHIN;
        loop {
            if let Some(status) = self.running()?.jvm.try_wait()? {
                self.running = None;
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "{} did not end within {STOPPED_WITHIN:?}; its log ends:\n{}",
                self.launch.name,
                self.log_tail(),
            );
            sleep(LOOK_EVERY).await;
        }
    }

    fn running(&mut self) -> Result<&mut Running> {
        self.running.as_mut().with_context(|| format!("{} is not running", self.launch.name))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Question {
    async fn ask(&self) -> Result<()> {
        match self {
            Self::Kafka { address } => probe::kafka(address).await.map(drop),
            Self::Cql { address } => probe::cql(address).await.map(drop),
            Self::Registry { url } => probe::registry(url).await.map(drop),
        }
    }
}

/// A JVM and its guard. Dropping it kills the JVM.
#[derive(Debug)]
struct Running {
    jvm: Child,
    guard: Child,
    /// The pipe that the guard waits on.
    leash: ChildStdin,
}

impl Running {
    fn start(launch: &Launch, folder: &Path, log: &File) -> Result<Self> {
        let mut jvm = shell(LAUNCHER)
            .arg(&launch.program)
            .args(&launch.arguments)
            .current_dir(folder)
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .spawn()?;
        // From here to the line, a failure drops the launcher's pipe, and the launcher ends without having become a JVM.
        let mut guard =
            shell(GUARD).arg(jvm.id().to_string()).arg(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let leash = guard.stdin.take().context("the guard has no pipe")?;
        jvm.stdin.take().context("the launcher has no pipe")?.write_all(b"go\n")?;
        Ok(Self { jvm, guard, leash })
    }

    fn kill(&mut self) -> Result<()> {
        Ok(self.jvm.kill()?)
    }

    /// Through `kill`, because a signal other than SIGKILL takes unsafe code or one more dependency.
    fn signal(&mut self, name: &str) -> Result<()> {
        // The child is ours and not reaped while this reads as running, so the id cannot be another's.
        ensure!(self.jvm.try_wait()?.is_none(), "the server has ended by itself");
        let status = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "sh", name])
            .arg(self.jvm.id().to_string())
            .status()?;
        ensure!(status.success(), "kill -s {name} ended with {status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that the process in question has ended already; each is waited for so that none stays a zombie.
        let _ = self.jvm.kill();
        let _ = self.leash.write_all(b"dismissed\n");
        let _ = self.jvm.wait();
        let _ = self.guard.wait();
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).stdin(Stdio::piped()).process_group(0);
    command
}

/// A new folder for a server's settings, data and log.
pub(super) fn fresh_folder(name: &str) -> Result<TempDir> {
    tempfile::Builder::new().prefix(&format!("klatsch-{name}-")).tempdir().context("creating a server's data folder")
}

/// Writes the options that `@jvm.options` names on a server's command line.
pub(super) fn write_jvm_options(folder: &Path, template: &str) -> Result<()> {
    write_filled(&folder.join("jvm.options"), template, &[("FOLDER", &folder.to_string_lossy())])
}

/// Writes `template` to `path` with each `@NAME@` replaced.
pub(super) fn write_filled(path: &Path, template: &str, values: &[(&str, &str)]) -> Result<()> {
    let filled =
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value));
    fs::write(path, filled).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_cannot_start_shows_the_end_of_its_log() {
        let launch = Launch {
            name: "broken",
            program: "sh".into(),
            arguments: vec!["-c".into(), "echo the disk is full >&2; exit 3".into()],
            question: Question::Kafka { address: "127.0.0.1:1".to_owned() },
        };
        let folder = fresh_folder("broken").expect("a temporary folder");
        let path = folder.path().to_owned();
        let error = Server::start(launch, folder).await.expect_err("it has ended").to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("the disk is full"), "{error}");
        assert!(!path.exists(), "a failed start leaves its folder behind");
    }
}
