//! What the tool itself used: processor time and memory, which say on what part of a machine the load was made.

use std::fs;

use serde::{Deserialize, Serialize};

/// What the process has used since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds of processor time.
    pub cpu_s: f64,
    /// The most memory at any time, in mebibytes.
    pub memory_mib: f64,
}

impl Usage {
    /// The usage until now; zeros where the system does not tell.
    pub(crate) fn now() -> Self {
        Self { cpu_s: cpu_s().unwrap_or_default(), memory_mib: memory_mib().unwrap_or_default() }
    }
}

fn cpu_s() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may have blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    #[allow(clippy::cast_precision_loss)] // a hundred, usually
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Some((user + system) / per_second)
}

fn memory_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_used() {
        let Usage { cpu_s, memory_mib } = Usage::now();
        assert!((0.0..86_400.0).contains(&cpu_s) && memory_mib > 1.0, "{cpu_s} {memory_mib}");
    }
}
