//! Runs `schemas/WALKTHROUGH.md` as a reader would: every block, in order, in one bash, against a running klatsch.

use std::process::Stdio;

use anyhow::{Result, ensure};
use testkit::programs::Single;
use tokio::process::Command;

const DOCUMENT: &str = include_str!("../../../../schemas/WALKTHROUGH.md");

/// The document's bash blocks, concatenated.
fn script() -> String {
    let blocks = DOCUMENT.split("```bash\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("what is split has a first part")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_walkthrough_works_as_it_is_pasted() -> Result<()> {
    let mut single = Single::new().await?;
    single.program.start().await?;
    let ran = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script()])
        .env("KLATSCH_URL", single.program.url())
        .stdin(Stdio::null())
        .output()
        .await?;
    let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    ensure!(ran.status.success(), "it ended with {}\n{said}\n{errors}", ran.status);
    let settled: Vec<&str> = said.lines().filter(|line| line.contains("\"outcome\":\"settled\"")).collect();
    ensure!(settled.len() == 3 && settled[0] == settled[1], "a message, the same again, and its deletion:\n{said}");
    for expected in
        ["\"unread\":1", "\"unread\":0", "\"deleted\":true", "\"code\":\"no_such_message\"", "\"complete\":true"]
    {
        ensure!(said.contains(expected), "it never says {expected}:\n{said}");
    }
    single.program.stop().await
}
