//! `klatsch-load` against a `klatsch`: every scenario in a short form, and what its exit codes say. Latencies are not
//! judged here, because a debug build on a busy machine is slow; what must be exact is: no message lost, doubled or out
//! of order.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use testkit::programs::{Ran, Setup, Single};

/// No bound on latencies.
const UNBOUNDED: [&str; 8] = [
    "--ack-p99-ms=0",
    "--shown-p99-ms=0",
    "--burst-p99-ms=0",
    "--others-times=1000000",
    "--tool-p99-ms=0",
    "--back-within=60",
    "--warm-up=1",
    "--drain=120",
];

/// A `klatsch`, and a folder with the accounts on it.
struct Ground {
    single: Single,
    folder: TempDir,
}

impl Ground {
    async fn new() -> Result<Self> {
        Self::with(&[]).await
    }

    /// With arguments for the `klatsch`.
    async fn with(arguments: &[&str]) -> Result<Self> {
        let mut single = Single::new().await?;
        single.program.add_arguments(arguments);
        single.program.start().await?;
        Ok(Self { single, folder: TempDir::new()? })
    }

    /// Plays a scenario with accounts of its own or of an earlier run, and returns the report with the exit code.
    async fn play(&self, scenario: &str, words: &[&str]) -> Result<(Ran, Value)> {
        let (url, accounts) = (self.single.program.url(), self.folder.path().join("accounts.json"));
        let report = self.folder.path().join(format!("{scenario}.json"));
        let ran = run(scenario, &url, &accounts, Some(&report), words).await?;
        let told = std::fs::read(&report).with_context(|| format!("no report: {}{}", ran.output, ran.errors))?;
        Ok((ran, serde_json::from_slice(&told)?))
    }
}

async fn run(scenario: &str, url: &str, accounts: &Path, report: Option<&Path>, words: &[&str]) -> Result<Ran> {
    let mut arguments = vec!["run".into(), scenario.into(), "--url".into(), url.into()];
    arguments.extend(["--accounts".into(), accounts.as_os_str().to_owned()]);
    if let Some(report) = report {
        arguments.extend(["--json".into(), report.as_os_str().to_owned()]);
    }
    arguments.extend(words.iter().map(Into::into));
    Ran::of(Setup { program: "klatsch-load", arguments, ..Setup::default() }).await
}

/// The exit code, with the words that explain it.
fn exit(ran: &Ran) -> Result<i32> {
    ran.status.code().with_context(|| format!("{}: {}{}", ran.status, ran.output, ran.errors))
}

/// The run passed, and something was sent and shown.
fn passed(scenario: &str, (ran, report): &(Ran, Value)) -> Result<()> {
    ensure!(exit(ran)? == 0, "{scenario}: {}{}", ran.output, ran.errors);
    let count = |what: &str| report["verdict"][what].as_u64().unwrap_or_default();
    let (sent, acknowledged, shown) = (count("sent"), count("acknowledged"), count("shown"));
    ensure!(sent > 0 && acknowledged == sent && shown > sent, "{scenario}: {}", ran.output);
    ensure!(report["verdict"]["faults"] == serde_json::json!({}), "{scenario}: {}", ran.output);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_passes_in_a_short_form() -> Result<()> {
    let ground = Ground::new().await?;
    for (scenario, words) in [
        ("steady", &["--seconds=3", "--rate=20", "--sizes=2,5"][..]),
        ("burst", &["--seconds=6", "--rate=5"]),
        ("storm", &["--seconds=6", "--rate=20"]),
        ("idle", &["--seconds=3"]),
        ("fan-in", &["--seconds=3", "--rate=30"]),
        ("away", &["--seconds=6", "--rate=20"]),
        ("find-limit", &["--seconds=3", "--rate=100"]),
    ] {
        let words = [words, &UNBOUNDED, &["--devices=12"]].concat();
        let ended = ground.play(scenario, &words).await?;
        passed(scenario, &ended)?;
        let of = |what: &str| &ended.1[what];
        match scenario {
            "storm" => ensure!(of("back")["count"] == 6, "half of the devices: {}", ended.0.output),
            "away" => ensure!(of("back")["count"] == 2, "a fifth of the devices: {}", ended.0.output),
            "find-limit" => ensure!(of("limit").is_f64(), "no limit: {}", ended.0.output),
            _ => {}
        }
    }
    Ok(())
}

/// A server that is killed and started again in the middle: the tool's own command does both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_nothing_and_everybody_is_back() -> Result<()> {
    let mut ground = Ground::new().await?;
    let pid = ground.single.program.pid().context("no process")?;
    let command = format!("kill -9 {pid}");
    let words = [&UNBOUNDED[..], &["--devices=12", "--seconds=9", "--rate=20", "--command", &command]].concat();
    let (url, accounts) = (ground.single.program.url(), ground.folder.path().join("accounts.json"));
    let report = ground.folder.path().join("storm.json");
    let playing = run("storm", &url, &accounts, Some(&report), &words);
    let again = async {
        ground.single.program.ended().await?;
        ground.single.program.start().await
    };
    let (ran, started) = tokio::join!(playing, again);
    started?;
    let ended = (ran?, serde_json::from_slice(&std::fs::read(&report)?)?);
    passed("storm", &ended)?;
    ensure!(ended.1["back"]["count"] == 12, "all devices: {}", ended.0.output);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_devices_are_closed_and_catch_up() -> Result<()> {
    let ground = Ground::new().await?;
    let words = [
        &UNBOUNDED[..],
        &["--devices=8", "--devices-per-user=1", "--sizes=2", "--share=0.125", "--seconds=58", "--rate=5"],
        &["--loud-rate=25", "--loud-bytes=16000"],
    ];
    let ended = ground.play("slow", &words.concat()).await?;
    passed("slow", &ended)?;
    let losses = ended.1["losses"].as_object().map_or(0, |losses| losses.values().filter_map(Value::as_u64).sum());
    ensure!(losses >= 2, "one that stopped and one that was slow: {}", ended.0.output);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exit_code_says_whose_fault_it_is() -> Result<()> {
    let ground = Ground::new().await?;
    let short = [&UNBOUNDED[..], &["--devices=6", "--seconds=1", "--rate=20"]].concat();
    let with = |more: &'static str| [&short[..], &[more]].concat();
    let good = ground.play("steady", &short).await?;
    passed("steady", &good)?;
    // A bound that no server keeps is missed by the product; one that no tool keeps, by the tool.
    for (word, code) in [("--shown-p99-ms=0.000001", 1), ("--tool-p99-ms=0.000001", 3)] {
        let (ran, report) = ground.play("steady", &with(word)).await?;
        ensure!(exit(&ran)? == code && report["exit"] == code, "{word}: {}{}", ran.output, ran.errors);
    }
    // What cannot be set up: nobody is there, and the accounts are of another server.
    let (accounts, other) = (ground.folder.path().join("accounts.json"), ground.folder.path().join("other.json"));
    for (accounts, words) in [(&other, "does not answer"), (&accounts, "name another file")] {
        let ran = run("steady", "http://127.0.0.1:1", accounts, None, &short).await?;
        ensure!(exit(&ran)? == 4 && ran.errors.contains(words), "{}{}", ran.output, ran.errors);
    }
    let ran = run("steady", &ground.single.program.url(), &accounts, None, &with("--rate=5000")).await?;
    ensure!(exit(&ran)? == 64 && ran.errors.contains("the server's limits"), "{}{}", ran.output, ran.errors);
    compared(&ground, &good.1).await
}

/// A server that allows less than the tool knows says nothing about the product: the run is void.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_the_server_that_cut_the_load_make_a_run_void() -> Result<()> {
    for limits in [["--user-rate=2", "--user-burst=4"], ["--socket-rate=1", "--socket-burst=2"]] {
        let ground = Ground::with(&limits).await?;
        let words = [&UNBOUNDED[..], &["--devices=6", "--seconds=3", "--rate=30"]].concat();
        let (ran, report) = ground.play("steady", &words).await?;
        ensure!(exit(&ran)? == 4 && report["exit"] == 4, "{limits:?}: {}{}", ran.output, ran.errors);
        let hit = report["limits_hit"].as_array().and_then(|hit| hit.first()?.as_str()).unwrap_or_default();
        ensure!(hit.contains("rate_limited"), "{limits:?}: {report}");
        ensure!(ran.output.contains("VOID: the server's limits cut the load"), "{limits:?}: {}", ran.output);
        // What was put off was sent later: nothing is lost.
        ensure!(report["verdict"]["faults"] == serde_json::json!({}), "{limits:?}: {}", ran.output);
    }
    Ok(())
}

/// The same run is not worse than itself; one that took longer is, and one with a loss.
async fn compared(ground: &Ground, good: &Value) -> Result<()> {
    let path = |name: &str| ground.folder.path().join(name);
    let (mut slower, mut lossy) = (good.clone(), good.clone());
    let p99 = slower["stages"][0]["shown"]["p99_ms"].as_f64().context("no figure")?;
    slower["stages"][0]["shown"]["p99_ms"] = (p99 * 1.2 + 3.0).into();
    lossy["verdict"]["faults"]["lost"] = 1.into();
    for (name, report) in [("good", good), ("slower", &slower), ("lossy", &lossy)] {
        std::fs::write(path(name), report.to_string())?;
    }
    for (second, code, words) in [("good", 0, "nothing is worse"), ("slower", 1, "WORSE"), ("lossy", 1, "not all zero")]
    {
        let arguments = vec!["compare".into(), path("good").into_os_string(), path(second).into_os_string()];
        let ran = Ran::of(Setup { program: "klatsch-load", arguments, ..Setup::default() }).await?;
        ensure!(exit(&ran)? == code && ran.output.contains(words), "{second}: {}{}", ran.output, ran.errors);
    }
    Ok(())
}
