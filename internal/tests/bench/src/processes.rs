//! CPU time and cores of processes.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Shell commands that bind the program which follows to the first core.
pub(crate) const FIRST_CORE: &str = "taskset -cp 0 $$ >/dev/null";
/// The kernel counts CPU time in ticks of a hundredth of a second, on every architecture (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// The CPU time that the process has used so far, in user and kernel mode, all threads.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("no such process")?;
    let (_, after_name) = stat.rsplit_once(')').context("no name")?;
    let ticks: Vec<u32> =
        after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>().context("no ticks")?;
    Ok(TICK * ticks.iter().sum())
}

/// Binds this process, and those that it starts from now on, to the second core: what is measured has the first one
/// to itself.
pub(crate) fn leave_first_core() -> Result<()> {
    let status = Command::new("taskset").args(["-acp", "1", &std::process::id().to_string()]).output()?.status;
    ensure!(status.success(), "taskset could not bind this process to the second core");
    Ok(())
}

/// The machine, in a line.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    format!("{cores} x {}, load {load} at the start", model.map_or("?", |(_, name)| name.trim()))
}
