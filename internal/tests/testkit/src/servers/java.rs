//! Finds a Java version that a server supports.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// Names a Java 21 or newer (its executable or its home folder), for one outside the usual folders.
const JAVA_21: &str = "KLATSCH_JAVA21";
/// Names a Java 17, likewise.
const JAVA_17: &str = "KLATSCH_JAVA17";
/// Where distributions install Java versions, each in a folder of its own.
const INSTALLED: &str = "/usr/lib/jvm";

/// The oldest Java on this machine whose major version is in `versions`.
pub(super) fn find(versions: RangeInclusive<u32>) -> Result<PathBuf> {
    let found: Vec<(u32, PathBuf)> =
        candidates().into_iter().filter_map(|java| Some((major_version(&java)?, java))).collect();
    let seen: Vec<String> = found.iter().map(|(major, java)| format!("{major} at {}", java.display())).collect();
    found.into_iter().filter(|(major, _)| versions.contains(major)).min().map(|(_, java)| java).with_context(|| {
        format!(
            "no Java of version {} here (found: {}); install one, or name it in {}",
            spelled(&versions),
            if seen.is_empty() { "none".to_owned() } else { seen.join(", ") },
            if *versions.start() >= 21 { JAVA_21 } else { JAVA_17 },
        )
    })
}

fn spelled(versions: &RangeInclusive<u32>) -> String {
    match (*versions.start(), *versions.end()) {
        (only, last) if only == last => only.to_string(),
        (first, _) => format!("{first} or newer"),
    }
}

fn candidates() -> Vec<PathBuf> {
    let named = [JAVA_21, JAVA_17, "JAVA_HOME"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let installed = std::fs::read_dir(INSTALLED).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> = named.chain(installed).map(program_of).collect();
    all.push(PathBuf::from("java"));
    all
}

/// The executable: `bin/java` of a home folder, or the named file itself.
fn program_of(named: PathBuf) -> PathBuf {
    if named.is_dir() { named.join("bin/java") } else { named }
}

fn major_version(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").stdin(Stdio::null()).output().ok()?;
    parse_major(&String::from_utf8_lossy(&output.stderr))
}

/// Parses `openjdk version "17.0.15" 2025-04-15`, or the old style `java version "1.8.0_292"`.
fn parse_major(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match numbers.next()?.ok()? {
        1 => numbers.next()?.ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_major;

    #[test]
    fn the_major_version_is_read_in_every_style() {
        assert_eq!(parse_major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK ..."), Some(17));
        assert_eq!(parse_major("openjdk version \"25\" 2025-09-16 LTS"), Some(25));
        assert_eq!(parse_major("openjdk version \"26-ea\" 2026-03-17"), Some(26));
        assert_eq!(parse_major("java version \"1.8.0_292\""), Some(8));
        assert_eq!(parse_major("sh: java: not found"), None);
    }
}
