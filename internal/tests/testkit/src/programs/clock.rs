//! A separate clock for a program, which can be stepped while it runs: libfaketime, loaded before the C library.
//!
//! Only the time of day is changed; the monotonic clock, which measures durations, is not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The library's path in distributions, below `/usr/lib/<architecture>`.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The environment variables for a program whose clock is set by `file`.
///
/// # Errors
/// When the library is not installed.
pub(super) fn environment(file: &Path) -> Result<Vec<(&'static str, String)>> {
    let library = library().context("libfaketime is not installed: `apt-get install libfaketime` has it")?;
    Ok(vec![
        ("LD_PRELOAD", library.to_string_lossy().into_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_string_lossy().into_owned()),
        // Seconds between two reads of the file.
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        // A killed process would leave a shared memory segment behind.
        ("FAKETIME_DISABLE_SHM", "1".to_owned()),
    ])
}

/// Sets the clock's offset, in seconds.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn set(file: &Path, off_seconds: i64) -> Result<()> {
    // Replaced atomically: a half-written file would be read as another time.
    let fresh = file.with_extension("new");
    fs::write(&fresh, format!("{off_seconds:+}\n"))?;
    fs::rename(&fresh, file).context("setting a program's clock")
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders.flatten().map(|folder| folder.path().join(LIBRARY)).find(|path| path.exists())
}
