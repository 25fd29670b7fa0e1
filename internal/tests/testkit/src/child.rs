//! A process of another program that never outlives this one.
//!
//! Two small shell processes stand beside each, because it must go even when this process is killed, and nothing in
//! this process runs any more then:
//! - The program begins as a shell that waits for a line before it becomes (`exec`) the program, under the same process
//!   id. It gets that line only when its guard stands.
//! - The guard waits on a pipe whose other end only this process holds. A line means "dismissed". End of file without
//!   one means that this process is gone: the guard kills the program and removes its folder.
//!
//! Both are in process groups of their own, so that Ctrl-C in a terminal reaches this process alone.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, ensure};

/// The first argument is evaluated: limits of the process.
const LAUNCHER: &str = r#"read -r _ && eval "$1" && shift && exec "$@" </dev/null"#;
/// Waits for the program's end before it removes the folder, which the program would otherwise write into again.
const GUARD: &str = r#"read -r _ && exit
kill -KILL "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 0.2; done
rm -rf "$2""#;
/// How much of a log an error shows.
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
    /// Starts `program` in `folder`, with its output going to `output` and its errors to `errors`; `limits` are shell
    /// commands that go before.
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
        // From here to the line, a failure drops the launcher's pipe, and the launcher ends without having become more.
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

    /// Through `kill`, because a signal other than SIGKILL takes unsafe code or one more dependency.
    pub(crate) fn signal(&mut self, name: &str) -> Result<()> {
        // The child is ours and not reaped while this reads as running, so the id cannot be another's.
        ensure!(self.process.try_wait()?.is_none(), "the process has ended by itself");
        let status = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "sh", name])
            .arg(self.process.id().to_string())
            .status()?;
        ensure!(status.success(), "kill -s {name} ended with {status}");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Errors mean that the process in question has ended already; each is waited for so that none stays a zombie.
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
