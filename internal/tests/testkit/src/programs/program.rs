//! One of our programs as a process.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::build::executable;
use super::clock;
use crate::child::{Child, log_tail};
use crate::servers::ports;

/// Far longer than the slowest start: a debug build on two busy cores that waits for a cold Cassandra.
const READY_WITHIN: Duration = Duration::from_secs(600);
/// A program that has given no answer at all for this long hangs: it answers from its start on, also while it waits for its
/// engines, and `klatsch` once it has opened its data. A debug build on two busy cores needs some seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
/// The longest job of a tool, such as a rebuild of all rows; a tool that takes longer hangs.
const ENDED_WITHIN: Duration = Duration::from_secs(900);
/// Every program promises to stop within 10 s; a busy machine may take longer.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
/// How often the readiness and the end of a process are checked.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A program that does not answer such a small request within this time is not ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The data folder, below the program's own folder.
const DATA: &str = "data";
/// When this variable is set, the folders of programs are kept, with their logs.
const KEEP: &str = "KLATSCH_TEST_KEEP";

/// How to start a program, repeatedly on the same port and with the same data.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Its name in `cmd`.
    pub program: &'static str,
    /// Its arguments; `--listen` and `--ops-listen` are added.
    pub arguments: Vec<OsString>,
    /// Variables that are added to the environment.
    pub environment: Vec<(&'static str, String)>,
    /// Shell commands that run before it, such as `ulimit -n 64`.
    pub limits: String,
}

/// A program with a port and a folder of its own. Dropping it kills it and removes the folder.
#[derive(Debug)]
pub struct Program {
    setup: Setup,
    executable: PathBuf,
    address: SocketAddr,
    /// The address of its port for operators.
    operators: SocketAddr,
    /// How long it may give no answer at all after its start.
    answers_within: Duration,
    /// `None` between its end and the next start. Declared before the folder, because fields are dropped in order.
    running: Option<Child>,
    folder: TempDir,
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

impl Program {
    /// Prepares the program: builds it and reserves free ports, without starting it.
    ///
    /// # Errors
    /// When it cannot be built, or no port or folder can be made.
    pub async fn new(setup: Setup) -> Result<Self> {
        let executable = executable(setup.program).await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let operators = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let prefix = format!("klatsch-{}-", setup.program);
        let mut folder = tempfile::Builder::new().prefix(&prefix).tempdir().context("creating a program's folder")?;
        folder.disable_cleanup(std::env::var_os(KEEP).is_some());
        fs::create_dir(folder.path().join(DATA))?;
        let answers_within = ANSWERS_WITHIN;
        Ok(Self { setup, executable, address, operators, answers_within, running: None, folder })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.setup.program
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base of its URLs.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address for operators: readiness with reasons, and metrics.
    #[must_use]
    pub fn operators(&self) -> SocketAddr {
        self.operators
    }

    /// Its metrics, in Prometheus's text format.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        let answer = client.get(format!("http://{}/metrics", self.operators)).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// The folder for its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Child::id)
    }

    /// The end of what it wrote to its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.log_path())
    }

    /// Adds arguments, from the next start on.
    pub fn add_arguments<A: Into<OsString>>(&mut self, arguments: impl IntoIterator<Item = A>) {
        self.setup.arguments.extend(arguments.into_iter().map(Into::into));
    }

    /// Sets the limits for the next start: shell commands such as `ulimit -n 64`.
    pub fn limit(&mut self, limits: impl Into<String>) {
        self.setup.limits = limits.into();
    }

    /// Sets how long it may give no answer at all after its start before it counts as hanging.
    pub fn answers_within(&mut self, within: Duration) {
        self.answers_within = within;
    }

    /// Gives it a clock of its own, from the next start on; [`Self::step_clock`] sets it.
    ///
    /// # Errors
    /// When libfaketime is not installed.
    pub fn own_clock(&mut self) -> Result<()> {
        self.setup.environment.extend(clock::environment(&self.clock_path())?);
        self.step_clock(0)
    }

    /// Sets the offset of its own clock in seconds; effective within a second.
    ///
    /// # Errors
    /// When the clock's file cannot be written.
    pub fn step_clock(&self, off_seconds: i64) -> Result<()> {
        clock::set(&self.clock_path(), off_seconds)
    }

    /// Starts it and waits until `/readyz` reports it as ready. Returns how long that took.
    ///
    /// # Errors
    /// When it ends before that, or is not ready in time.
    pub async fn start(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.spawn()?;
        self.ready().await?;
        Ok(begun.elapsed())
    }

    /// Starts it without waiting until it is ready.
    ///
    /// # Errors
    /// When it runs already, or cannot be run.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "{} runs already", self.name());
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let environment: Vec<(OsString, OsString)> =
            self.setup.environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut arguments = self.setup.arguments.clone();
        arguments.extend(["--listen".into(), self.address.to_string().into()]);
        arguments.extend(["--ops-listen".into(), self.operators.to_string().into()]);
        let child = Child::start(
            &self.setup.limits,
            &self.executable,
            &arguments,
            &environment,
            self.folder.path(),
            &log,
            &log,
        );
        self.running = Some(child.with_context(|| format!("starting {}", self.executable.display()))?);
        Ok(())
    }

    /// Waits until `/readyz` reports it as ready.
    ///
    /// # Errors
    /// When it ends before that, hangs, or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        let (begun, mut answered) = (Instant::now(), false);
        let (deadline, url) = (Instant::now() + READY_WITHIN, format!("{}/readyz", self.url()));
        let reasons = format!("http://{}/readyz", self.operators);
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        let mut said = String::new();
        loop {
            let answer = client.get(&url).send().await;
            // Checked after the request: if the process has ended, the answer came from another process on the same
            // port.
            if let Some(status) = self.has_ended()? {
                bail!("{} ended with {status} before it was ready; its log ends:\n{}", self.name(), self.log_tail());
            }
            answered |= answer.is_ok();
            match answer {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(_) => {
                    let answer = client.get(&reasons).send().await;
                    if let Ok(answer) = answer {
                        said = answer.text().await.unwrap_or_default();
                    }
                }
                Err(_) => {}
            }
            ensure!(
                answered || begun.elapsed() < self.answers_within,
                "{} hangs: it has not answered within {:?} of its start; its log ends:\n{}",
                self.name(),
                self.answers_within,
                self.log_tail()
            );
            ensure!(
                Instant::now() < deadline,
                "{} was not ready within {READY_WITHIN:?}: {said}; its log ends:\n{}",
                self.name(),
                self.log_tail()
            );
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends it at once, as `kill -9` does.
    ///
    /// # Errors
    /// When it is not running, or does not end.
    pub async fn kill(&mut self) -> Result<()> {
        self.running()?.kill()?;
        self.ended().await.map(drop)
    }

    /// Asks it to stop (SIGTERM) and waits until it has stopped with success.
    ///
    /// # Errors
    /// When it is not running, does not end in time, or ends with an error.
    pub async fn stop(&mut self) -> Result<()> {
        let running = self.running()?;
        running.signal(Signal::TERM)?;
        // A frozen process handles the signal only after it resumes.
        running.signal(Signal::CONT)?;
        let status = self.ended().await?;
        ensure!(status.success(), "{} ended with {status}; its log ends:\n{}", self.name(), self.log_tail());
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

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// When it was not started.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.running()?.try_wait()?;
        if status.is_some() {
            self.running = None;
        }
        Ok(status)
    }

    /// Waits until it has ended, by itself or because it was asked to.
    ///
    /// # Errors
    /// When it is not running, or does not end in time.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + STOPPED_WITHIN;
        loop {
            if let Some(status) = self.has_ended()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "{} did not end within {STOPPED_WITHIN:?}; its log ends:\n{}",
                self.name(),
                self.log_tail(),
            );
            sleep(LOOK_EVERY).await;
        }
    }

    fn running(&mut self) -> Result<&mut Child> {
        let name = self.name();
        self.running.as_mut().with_context(|| format!("{name} is not running"))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn clock_path(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}

impl Ran {
    /// Runs a program in a folder of its own until it ends.
    ///
    /// # Errors
    /// When it cannot be built or run, or does not end in time.
    pub async fn of(setup: Setup) -> Result<Self> {
        let executable = executable(setup.program).await?;
        let folder = TempDir::with_prefix("klatsch-run-")?;
        let (output, errors) = (folder.path().join("output"), folder.path().join("errors"));
        let (output_file, errors_file) = (File::create(&output)?, File::create(&errors)?);
        let environment: Vec<(OsString, OsString)> =
            setup.environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let folder = folder.path();
        let mut child = Child::start(
            &setup.limits,
            &executable,
            &setup.arguments,
            &environment,
            folder,
            &output_file,
            &errors_file,
        )?;
        let deadline = Instant::now() + ENDED_WITHIN;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "{} does not end: {}", setup.program, log_tail(&errors));
            sleep(LOOK_EVERY).await;
        };
        Ok(Self { status, output: read(&output), errors: read(&errors) })
    }

    /// Its standard output, if it ended with success.
    ///
    /// # Errors
    /// Its whole output, if it did not.
    pub fn success(self) -> Result<String> {
        ensure!(self.status.success(), "ended with {}: {}\n{}", self.status, self.output, self.errors);
        Ok(self.output)
    }
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
