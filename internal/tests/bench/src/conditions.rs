//! Under which conditions a run was made: the machine, the commit, and what else ran.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use std::{fmt, fs};

use bench::processes;
use environment::Clock;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The most other processes that a result names.
const OTHERS_MAX: usize = 8;
/// Processes that used less than this are not named.
const OTHERS_CPU_MIN: Duration = Duration::from_millis(100);

/// The conditions of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Conditions {
    /// The cores and their model.
    pub(crate) machine: String,
    /// The name and release of the kernel.
    pub(crate) kernel: String,
    /// The commit of the folder of the programs, with `-dirty` where files were changed; or `unknown`.
    pub(crate) commit: String,
    /// When the run began, seconds of Unix time.
    pub(crate) began: i64,
    /// How long it took, in seconds.
    pub(crate) took: f64,
    /// Processes that ran or waited to run, on average over a minute: at the start, and at the end.
    pub(crate) load: [f64; 2],
    /// The processes that used most of the cores meanwhile, besides this one and what it started and ended: the name,
    /// and the share of one core in percent. Servers that were started before are among them.
    pub(crate) others: Vec<(String, f64)>,
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, kernel, commit, took, load: [before, after], others, .. } = self;
        write!(f, "{machine}, {kernel}, commit {commit}, {took:.0} s, load {before} to {after}; beside it:")?;
        others.iter().try_for_each(|(name, percent)| write!(f, " {name} {percent} %"))
    }
}

/// The beginning of a run.
#[derive(Debug)]
pub(crate) struct Beginning {
    at: Instant,
    unix_ms: i64,
    load: f64,
    processes: BTreeMap<u32, Duration>,
}

impl Beginning {
    pub(crate) fn now() -> Self {
        let processes = processes::all().into_iter().map(|(pid, _, cpu)| (pid, cpu)).collect();
        Self { at: Instant::now(), unix_ms: Clock::system().now_ms(), load: load(), processes }
    }

    /// The conditions from the beginning until now.
    pub(crate) fn conditions(&self) -> Conditions {
        let took = self.at.elapsed().as_secs_f64();
        let used = |(pid, name, cpu): (u32, String, Duration)| {
            let used = cpu.saturating_sub(self.processes.get(&pid).copied().unwrap_or_default());
            (pid != std::process::id() && used >= OTHERS_CPU_MIN)
                .then(|| (name, (used.as_secs_f64() / took * 1_000.0).round() / 10.0))
        };
        let mut others: Vec<_> = processes::all().into_iter().filter_map(used).collect();
        others.sort_by(|one, other| other.1.total_cmp(&one.1));
        others.truncate(OTHERS_MAX);
        Conditions {
            machine: machine(),
            kernel: said("uname", &["-sr"]),
            commit: commit(),
            began: self.unix_ms / 1_000,
            took,
            load: [self.load, load()],
            others,
        }
    }
}

/// The machine, in a line.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    format!("{} x {}", processes::count(), model.map_or("?", |(_, name)| name.trim()))
}

fn load() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(-1.0)
}

fn commit() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    match said("git", &["-C", &folder, "describe", "--always", "--dirty"]) {
        commit if commit.is_empty() => "unknown".to_owned(),
        commit => commit,
    }
}

/// What a command prints; nothing, where it fails.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
