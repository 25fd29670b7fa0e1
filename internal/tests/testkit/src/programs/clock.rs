//! A clock of its own for a program, which can be stepped while it runs: libfaketime, in front of the C library.
//!
//! Only the time of day is changed. What measures durations (the monotonic clock) goes on as it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Where distributions put it, below `/usr/lib/<architecture>`.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// What a program's environment needs for a clock that `file` sets.
///
/// # Errors
/// When the library is not installed.
pub(super) fn environment(file: &Path) -> Result<Vec<(&'static str, String)>> {
    let library = library().context("libfaketime is not installed: `apt-get install libfaketime` has it")?;
    Ok(vec![
        ("LD_PRELOAD", library.to_string_lossy().into_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_string_lossy().into_owned()),
        // Seconds between two looks at the file.
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        // What a killed process would leave behind.
        ("FAKETIME_DISABLE_SHM", "1".to_owned()),
    ])
}

/// Sets the clock so many seconds off.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn set(file: &Path, off_seconds: i64) -> Result<()> {
    // Replaced as a whole: half of it would be another time.
    let fresh = file.with_extension("new");
    fs::write(&fresh, format!("{off_seconds:+}\n"))?;
    fs::rename(&fresh, file).context("setting a program's clock")
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders.flatten().map(|folder| folder.path().join(LIBRARY)).find(|path| path.exists())
}
