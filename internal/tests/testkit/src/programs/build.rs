//! Finds the programs' executables. Tests have them built once per process by Cargo, which knows whether anything
//! has changed; tools started by hand use the ones that exist, unless asked to build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result, ensure};

/// Names a folder with programs that are already built, to be used unchanged.
const GIVEN: &str = "KLATSCH_PROGRAMS";
/// The workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");

/// Whether building is switched off.
static AS_THEY_ARE: AtomicBool = AtomicBool::new(false);

/// From now on, this process uses the programs beside its own executable and builds none.
pub fn build_nothing() {
    AS_THEY_ARE.store(true, Ordering::Relaxed);
}

/// The names of all programs, sorted: each is the name of its folder in `cmd`.
///
/// # Errors
/// When the folder cannot be read.
pub fn all() -> Result<&'static [String]> {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(names) = NAMES.get() {
        return Ok(names);
    }
    let folders = std::fs::read_dir(Path::new(ROOT).join("cmd")).context("listing cmd")?;
    let mut names = Vec::new();
    for folder in folders {
        names.push(folder?.file_name().into_string().ok().context("a folder of cmd has a strange name")?);
    }
    names.sort_unstable();
    Ok(NAMES.get_or_init(|| names))
}

/// The executable of the program of that name, built with the profile of this process.
///
/// # Errors
/// When it cannot be built, or is not in the folder that the environment names.
pub async fn executable(name: &str) -> Result<PathBuf> {
    let name = name.to_owned();
    tokio::task::spawn_blocking(move || find(&name)).await?
}

fn find(name: &str) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(GIVEN) {
        let program = Path::new(&folder).join(name);
        ensure!(program.is_file(), "{GIVEN} names {}, where no {name} is", Path::new(&folder).display());
        return Ok(program);
    }
    if AS_THEY_ARE.load(Ordering::Relaxed) {
        return beside(&std::env::current_exe()?, name);
    }
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.is_empty() {
        *built = build()?;
    }
    built.get(name).cloned().with_context(|| format!("cargo has built no program {name}"))
}

/// The program of that name in the folder of another one.
fn beside(other: &Path, name: &str) -> Result<PathBuf> {
    let program = other.with_file_name(name);
    let profile = if cfg!(debug_assertions) { "" } else { " --release" };
    ensure!(
        program.is_file(),
        "there is no {name} at {}: build it first (cargo build{profile} --bin {name}), or say --build",
        program.display()
    );
    Ok(program)
}

fn build() -> Result<BTreeMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--message-format=json-render-diagnostics"]);
    // No `--package`: so Cargo chooses the dependencies' features for all default members, as it does for `cargo
    // run` and, except for what only tests need, for `cargo test --workspace`. What these have built is not built
    // again.
    for program in all()? {
        command.args(["--bin", program]);
    }
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.current_dir(ROOT).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("running cargo, which builds the programs")?;
    ensure!(output.status.success(), "cargo could not build the programs");
    Ok(String::from_utf8(output.stdout)?.lines().filter_map(artifact).collect())
}

/// The name and executable of the program that a line of Cargo's messages reports.
fn artifact(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_asked_for_and_not_built() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("load");
        let words = beside(&own, "klatsch").unwrap_err().to_string();
        assert!(words.contains("cargo build") && words.contains("--build"), "{words}");
        std::fs::write(folder.path().join("klatsch"), "").unwrap();
        assert_eq!(beside(&own, "klatsch").unwrap(), folder.path().join("klatsch"));
    }
}
