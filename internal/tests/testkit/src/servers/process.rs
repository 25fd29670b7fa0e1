//! The process of a server: started, watched until it answers, stopped in every way that a test needs, and never
//! left behind (see [`crate::child`]).

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::probe;
use crate::child::{Child, log_tail};

/// The slowest start (Cassandra, cold disk, two busy cores) takes a third of this.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// A server that does not answer one question for this long is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A clean stop flushes data; Cassandra takes five seconds.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
/// How often the readiness and the end of a process are checked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How to start a server, repeatedly with the same ports and the same data.
#[derive(Debug)]
pub(super) struct Launch {
    /// Its name in error messages and in the data folder's name.
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) question: Question,
}

/// The request that tells whether it is ready.
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
    /// `None` between a stop or kill and the next restart. Declared before the folder, because fields are dropped in
    /// order.
    running: Option<Child>,
    /// Holds settings, data and log.
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
        self.running.as_ref().map(|running| running.id())
    }

    /// The folder with its settings, data and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of what it wrote to its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.log_path())
    }

    /// Ends it at once, as `kill -9` does. Data that it had not handed to the operating system is lost.
    ///
    /// # Errors
    /// When it is not running, or does not end.
    pub async fn kill(&mut self) -> Result<()> {
        self.running()?.kill()?;
        self.ended().await?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it is not running, or does not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        let running = self.running()?;
        running.signal(Signal::TERM)?;
        // A frozen process handles the signal only after it resumes.
        running.signal(Signal::CONT)?;
        self.ended().await?;
        Ok(())
    }

    /// Freezes it (SIGSTOP): its sockets stay open, and it does not answer once this returns.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&mut self) -> Result<()> {
        self.running()?.freeze()
    }

    /// Resumes it after [`Self::pause`] (SIGCONT).
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&mut self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Starts it again with the same ports and the same data, after stopping it if it still runs.
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
        let Launch { program, arguments, .. } = &self.launch;
        let running = Child::start("", program, arguments, &[], self.folder.path(), &log, &log)
            .with_context(|| format!("starting {} with {}", self.launch.name, self.launch.program.display()))?;
        self.running = Some(running);
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = timeout(ANSWER_WITHIN, self.launch.question.ask()).await;
            let answer = answer.unwrap_or_else(|_| Err(anyhow!("it gave no answer within {ANSWER_WITHIN:?}")));
            // Checked after the request: if the server has ended, the answer came from another process on the same
            // port.
            if let Some(status) = self.running()?.try_wait()? {
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
            if let Some(status) = self.running()?.try_wait()? {
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

    fn running(&mut self) -> Result<&mut Child> {
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

/// A new folder for a server's settings, data and log.
pub(super) fn fresh_folder(name: &str) -> Result<TempDir> {
    tempfile::Builder::new().prefix(&format!("klatsch-{name}-")).tempdir().context("creating a server's data folder")
}

/// Writes the file of JVM options that the argument `@jvm.options` refers to.
pub(super) fn write_jvm_options(folder: &Path, template: &str) -> Result<()> {
    write_filled(&folder.join("jvm.options"), template, &[("FOLDER", &folder.to_string_lossy())])
}

/// Writes `template` to `path`, with each `@NAME@` replaced by its value.
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
