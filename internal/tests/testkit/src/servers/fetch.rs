//! Fetches the servers' programs with Maven, once per machine, into a cache folder outside the repository.
//!
//! All test processes share the cache: a file lock lets one of them fetch while the others wait, and a program is
//! complete only when its marker file exists. The marker holds the POM that it was fetched by, so that a changed
//! version is fetched again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Overrides the cache folder.
const CACHE_FOLDER: &str = "KLATSCH_SERVERS_DIR";
const MARKER: &str = "complete.pom";
/// Repositories fail now and then; a fetch that was interrupted resumes.
const ATTEMPTS_MAX: usize = 3;

/// A program that Maven can fetch.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    pom: &'static str,
    goal: &'static str,
}

pub(super) const KAFKA: Program = Program {
    name: "kafka",
    pom: include_str!("../../../../../deploy/local/kafka/pom.xml"),
    goal: "dependency:copy-dependencies",
};
pub(super) const CASSANDRA: Program = Program {
    name: "cassandra",
    pom: include_str!("../../../../../deploy/local/cassandra/pom.xml"),
    goal: "dependency:copy-dependencies",
};
pub(super) const REGISTRY: Program = Program {
    name: "registry",
    pom: include_str!("../../../../../deploy/local/registry/pom.xml"),
    goal: "dependency:unpack-dependencies",
};

/// Fetches the programs that are not in the cache yet. Returns the cache folder.
///
/// # Errors
/// When Maven is missing or does not succeed, or the cache folder is not writable.
pub async fn fetch_all() -> Result<PathBuf> {
    for program in [&KAFKA, &CASSANDRA, &REGISTRY] {
        fetch(program).await?;
    }
    cache_folder()
}

/// The folder with `program`'s files, which are fetched if they are not there.
pub(super) async fn fetch(program: &'static Program) -> Result<PathBuf> {
    tokio::task::spawn_blocking(|| fetch_blocking(program, &cache_folder()?)).await?
}

fn fetch_blocking(program: &Program, cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(program.name);
    let files = folder.join("files");
    if is_complete(program, &folder) {
        return Ok(files);
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}, the cache of servers", folder.display()))?;
    let lock = File::create(cache.join("lock")).context("creating the lock file of the cache of servers")?;
    // The lock is held until the file is dropped, or this process ends.
    lock.lock().context("locking the cache of servers")?;
    if is_complete(program, &folder) {
        return Ok(files);
    }
    eprintln!("fetching {} into {} (once)", program.name, folder.display());
    if files.exists() {
        fs::remove_dir_all(&files).context("removing an incomplete or older server")?;
    }
    let pom = folder.join("pom.xml");
    fs::write(&pom, program.pom)?;
    run_maven(program, &pom, &files)?;
    fs::write(folder.join(MARKER), program.pom)?;
    Ok(files)
}

fn is_complete(program: &Program, folder: &Path) -> bool {
    fs::read_to_string(folder.join(MARKER)).is_ok_and(|fetched_by| fetched_by == program.pom)
}

fn run_maven(program: &Program, pom: &Path, files: &Path) -> Result<()> {
    let mut said = String::new();
    for _ in 0..ATTEMPTS_MAX {
        let output = Command::new("mvn")
            .args(["--quiet", "--batch-mode", program.goal, "-DincludeScope=runtime"])
            .arg("--file")
            .arg(pom)
            .arg(format!("-DoutputDirectory={}", files.display()))
            .stdin(Stdio::null())
            .output()
            .context("running mvn, which fetches the servers: is Maven installed?")?;
        if output.status.success() {
            return Ok(());
        }
        said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    }
    bail!("Maven could not fetch {} in {ATTEMPTS_MAX} attempts; it said last:\n{said}", program.name)
}

fn cache_folder() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(CACHE_FOLDER) {
        return Ok(PathBuf::from(named));
    }
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::home_dir()) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => home.join(".cache"),
        (None, None) => bail!("no folder to keep servers in: set {CACHE_FOLDER}"),
    };
    Ok(base.join("klatsch/servers"))
}
