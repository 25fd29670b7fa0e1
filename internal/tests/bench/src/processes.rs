//! CPU time, memory and cores of processes.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// The kernel counts CPU time in ticks of a hundredth of a second, on every architecture (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// The CPU time that the process has used so far, in user and kernel mode, all threads.
///
/// # Errors
/// When there is no such process.
pub fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("no such process")?;
    let (_, after_name) = stat.rsplit_once(')').context("no name")?;
    let ticks: Vec<u32> =
        after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>().context("no ticks")?;
    Ok(TICK * ticks.iter().sum())
}

/// The resident memory of the process now, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn memory_of(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("no such process")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident memory")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// The name of the program of each process that runs, and the CPU time that it has used so far, by its id.
#[must_use]
pub fn all() -> Vec<(u32, String, Duration)> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<u32>().ok());
    let of = |pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
        Some((pid, name, cpu_of(pid).ok()?))
    };
    ids.filter_map(of).collect()
}

/// The cores of what is measured. Everything else has the others.
#[derive(Debug, Clone)]
pub struct Cores {
    /// As `taskset` takes them: `0` or `0,1`.
    list: String,
}

impl Cores {
    /// A list of cores, with commas.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(list: &str) -> Result<Self> {
        let cores: BTreeSet<usize> = list.split(',').map(str::parse).collect::<Result<_, _>>().context("cores: 0,1")?;
        Ok(Self { list: joined(cores) })
    }

    /// Shell commands that bind the program which follows to these cores.
    #[must_use]
    pub fn limits(&self) -> String {
        format!("taskset -cp {} $$ >/dev/null", self.list)
    }

    /// Binds this process, and those that it starts from now on without [`Self::limits`], to the other cores; to all,
    /// where there are no others.
    ///
    /// # Errors
    /// When that is refused.
    pub fn leave(&self) -> Result<()> {
        let taken: BTreeSet<usize> = self.list.split(',').filter_map(|core| core.parse().ok()).collect();
        let others = joined((0..count()).filter(|core| !taken.contains(core)));
        if others.is_empty() {
            return Ok(());
        }
        let status = Command::new("taskset").args(["-acp", &others, &std::process::id().to_string()]).output()?.status;
        ensure!(status.success(), "taskset could not bind this process to the cores {others}");
        Ok(())
    }
}

impl Default for Cores {
    fn default() -> Self {
        Self { list: "0".to_owned() }
    }
}

/// The cores of the machine, whichever of them this process may use.
#[must_use]
pub fn count() -> usize {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines().filter(|line| line.starts_with("processor")).count()
}

fn joined(cores: impl IntoIterator<Item = usize>) -> String {
    cores.into_iter().map(|core| core.to_string()).collect::<Vec<_>>().join(",")
}
