//! What a person who starts `klatsch` in a terminal sees (issue 10, item 16).
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_klatsch");

/// The program, without variables from the environment of the test run.
fn klatsch(data: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    for variable in ["KLATSCH_LOG", "KLATSCH_LOG_FORMAT", "RUST_LOG", "KLATSCH_DATA", "KLATSCH_LISTEN"] {
        command.env_remove(variable);
    }
    command.args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data"]).arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts it, waits for its line, and ends it as Ctrl-C does; returns both outputs.
fn start_and_stop(mut command: Command) -> (String, String) {
    let mut program = command.spawn().unwrap();
    let mut said = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let Output { status, stderr, .. } = stop(program);
    said.read_to_string(&mut line).unwrap();
    assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    (line, String::from_utf8(stderr).unwrap())
}

fn stop(program: Child) -> Output {
    let interrupted = Command::new("kill").args(["-INT", &program.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    program.wait_with_output().unwrap()
}

#[test]
fn a_start_says_one_line_for_people_and_logs_warnings_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for start in ["the first", "the next"] {
        let (said, logged) = start_and_stop(klatsch(&data));
        assert_eq!((said.lines().count(), logged.as_str()), (1, ""), "{start}: {said}");
        assert!(said.starts_with("klatsch is ready at http://127.0.0.1:"), "{said}");
        assert!(said.contains(data.to_str().unwrap()), "it says where the data is: {said}");
    }
    for variable in ["KLATSCH_LOG", "RUST_LOG"] {
        let mut command = klatsch(&data);
        command.env(variable, "info");
        assert!(start_and_stop(command).1.contains(" INFO "), "{variable} is not honoured");
    }
    let mut command = klatsch(&data);
    command.env("KLATSCH_LOG", "warn").env("RUST_LOG", "info");
    assert_eq!(start_and_stop(command).1, "", "ours counts");
}

#[test]
fn help_names_what_is_read_from_the_environment() {
    let help = klatsch(Path::new("data")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for variable in ["KLATSCH_LOG", "RUST_LOG", "KLATSCH_LOG_FORMAT", "KLATSCH_DATA"] {
        assert!(help.contains(variable), "{variable} is not in {help}");
    }
}

#[test]
fn no_help_is_wider_than_a_terminal() {
    for flag in ["--help", "-h"] {
        let help = klatsch(Path::new("data")).arg(flag).env("COLUMNS", "80").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let widest = help.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= 80, "{widest}\n\n{help}");
    }
}
