//! The memory of a process, as the kernel reports it.

use std::fs;

/// Memory in use, in KiB; `None` when there is no such process.
pub(super) fn resident_kib(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

/// The peak of the memory in use, in KiB; `None` when there is no such process.
pub(super) fn peak_kib(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?.parse().ok()
}
