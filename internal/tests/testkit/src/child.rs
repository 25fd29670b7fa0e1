//! A process of another program that never outlives this one.
//!
//! It has to end even when this process is killed, when no code of this process runs any more. Two small shell
//! processes see to that:
//! - The launcher waits for a line before it becomes (`exec`) the program, under the same process id. It gets that
//!   line only after the guard runs.
//! - The guard waits on a pipe whose other end only this process holds. A line means that the guard is dismissed.
//!   End of file without a line means that this process is gone: the guard kills the program and removes its folder.
//!
//! Both are in process groups of their own, so that Ctrl-C in a terminal reaches this process alone.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// The first argument holds shell commands that set the limits of the process.
const LAUNCHER: &str = r#"read -r _ && eval "$1" && shift && exec "$@" </dev/null"#;
/// Waits for the program's end before it removes the folder: the program might write into it again otherwise.
const GUARD: &str = r#"read -r _ && exit
kill -KILL "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 0.2; done
rm -rf "$2""#;
/// How many lines of a log an error shows.
const LOG_LINES_SHOWN: usize = 40;

/// A process and its guard. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    guard: std::process::Child,
    /// The pipe that the guard waits on.
    leash: ChildStdin,
}

impl Child {
    /// Starts `program` in `folder`, with its standard output going to `output` and its standard error to `errors`.
    /// `limits` are shell commands that run first.
    pub(crate) fn start(
        limits: &str,
        program: &Path,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
        folder: &Path,
        output: &File,
        errors: &File,
    ) -> Result<Self> {
        let mut process = shell(LAUNCHER)
            .arg(if limits.is_empty() { ":" } else { limits })
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdout(output.try_clone()?)
            .stderr(errors.try_clone()?)
            .spawn()?;
        // Until the line is written, a failure drops the launcher's pipe, and the launcher ends without starting the
        // program.
        let mut guard = shell(GUARD)
            .arg(process.id().to_string())
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let leash = guard.stdin.take().context("the guard has no pipe")?;
        process.stdin.take().context("the launcher has no pipe")?.write_all(b"go\n")?;
        Ok(Self { process, guard, leash })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        // A child that is not reaped keeps its process id, so the signal cannot reach another process.
        ensure!(self.process.try_wait()?.is_none(), "the process has ended by itself");
        kill_process(Pid::from_child(&self.process), signal).with_context(|| format!("sending {signal:?}"))
    }

    /// Freezes it (SIGSTOP) and waits until all of its threads stand still: until then, it may answer once more.
    pub(crate) fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // Its end is only looked at here (NOWAIT): `try_wait` has to see it, too.
        let changes = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let change = waitid(WaitId::Pid(Pid::from_child(&self.process)), changes)?;
        ensure!(change.is_some_and(|change| change.stopped()), "the process has ended by itself");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Errors mean that the process has ended already. Waiting for each leaves no zombies.
        let _ = self.process.kill();
        let _ = self.leash.write_all(b"dismissed\n");
        let _ = self.process.wait();
        let _ = self.guard.wait();
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).stdin(Stdio::piped()).process_group(0);
    command
}

/// The end of what a program wrote to its log.
pub(crate) fn log_tail(path: &Path) -> String {
    let log = fs::read(path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_frozen_stands_still_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let busy: [OsString; 2] = ["-c".into(), "while :; do :; done".into()];
        let mut child = Child::start("", Path::new("sh"), &busy, &[], folder.path(), &log, &log).unwrap();
        for _ in 0..100 {
            child.freeze().unwrap();
            let status = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            let state = status.rsplit(") ").next().and_then(|fields| fields.split(' ').next());
            assert_eq!(state, Some("T"), "{status}");
            child.signal(Signal::CONT).unwrap();
        }
        child.kill().unwrap();
        while child.try_wait().unwrap().is_none() {}
        assert!(child.freeze().is_err());
    }
}
