//! What operators rely on: every metric that a rule or a board names exists, the documents name those that exist and no
//! others, the rules do what their tests say, and a process has few enough series.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use auth::{EndedSessions, KeyRing, SigningKey, Verifier};
use environment::{Clock, Entropy};
use eventlog::SharedLog;
use eventlog::embedded::EmbeddedLog;
use events::Codec;
use events::topics::{FANOUT_SOURCES, MESSAGES, STORAGE_SOURCES, durable, spec_of};
use process::latency::BOUNDS_MS;
use process::metrics::Described;
use process::{Metrics, Readiness, Serving, Tasks};
use store::SharedStore;
use store::embedded::EmbeddedStore;
use store::observer::{Op, Outcome};
use testkit::load::LoadConfig;
use testkit::programs::Single;
use testkit::runs::{self, Harm};
use testkit::servers;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Series that a process may have.
const SERIES_MAX: usize = 2_100;
/// The partitions of each topic for which that is promised.
const PARTITIONS: usize = 96;
/// The kinds of commands: those of events, and read marks.
const COMMAND_KINDS: usize = domain::Kind::ALL.len() + 1;
/// The answers that are told apart: `ack`, `refused`, `unknown`, `failed`.
const ANSWERS: usize = 4;
/// The metrics that belong to every program, whoever wrote it.
const COMMON: &str = "process_";

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy").join(path)
}

fn read(path: &str) -> Result<String> {
    let path = deploy(path);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// Every metric of every program: the services are started, with engines in memory, and stopped.
async fn exported() -> Result<Vec<Described>> {
    let (clock, entropy, codec) = (Clock::system(), Entropy::system(), Codec::compiled_in());
    let metrics = Metrics::with_clock(clock.clone());
    process::usage::register(&metrics, "test", "0");
    let _consumers = (storage::StorageMetrics::new(&metrics), fanout::FanoutMetrics::new(&metrics));
    let _engines = (backends::EngineMetrics::new(&metrics).kafka(), ops::observers::store_requests(&metrics));
    let _audit = ops::audit::AuditMetrics::new(&metrics);
    let log: SharedLog = EmbeddedLog::open(kv::Database::in_memory(), clock.clone()).await?;
    let store: SharedStore = EmbeddedStore::open(kv::Database::in_memory(), clock.clone()).await?;
    ops::versions::register(&metrics, &store);
    ops::topics::apply(&*log, &codec, &entropy, |_| {}).await?;
    let (readiness, ended) = (Readiness::default(), EndedSessions::default());
    let keys = KeyRing::of(SigningKey::generate(&entropy)?, &clock, &entropy)?;
    let verifier = Verifier::of_ring(keys.clone(), clock.clone()).without(ended.clone());
    let serving = Serving::new(entropy.clone(), readiness.clone(), metrics.clone());
    let mut tasks = Tasks::new(readiness.clone());
    let deps = users::Deps {
        store: store.clone(),
        log: log.clone(),
        codec: codec.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        keys,
        ended,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
    };
    let mut router = users::start(&users::Config::default(), deps, &mut tasks)?;
    let deps = chat::Deps {
        log: log.clone(),
        store: store.clone(),
        codec: codec.clone(),
        clock: clock.clone(),
        verifier: verifier.clone(),
        serving: serving.clone(),
    };
    router = router.merge(chat::start(&chat::Config::default(), &deps, &mut tasks));
    let sockets = sockets::Deps { log, store, codec, verifier, clock, entropy, readiness, metrics: metrics.clone() };
    let (routes, open) = sockets::start(sockets::Config::default(), sockets, &mut tasks);
    router = router.merge(routes);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    tasks.spawn("http server", |token| process::serve(listener, router, serving, token));
    tasks.spawn("sockets", |token| open.drain(token));
    let stop = CancellationToken::new();
    stop.cancel();
    tasks.run(stop).await?;
    Ok(metrics.described())
}

/// The names of metrics in a text, as they are served.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'));
    words.filter(|word| word.starts_with("klatsch_") || word.starts_with(COMMON)).collect()
}

/// Whether a series of that name belongs to the metric.
fn belongs(name: &str, metric: &Described) -> bool {
    match name.strip_prefix(metric.name.as_str()) {
        Some("") => metric.kind != "histogram",
        Some("_bucket" | "_count" | "_sum") => metric.kind == "histogram",
        _ => false,
    }
}

fn rules() -> Result<String> {
    Ok(read("prometheus/rules/objectives.yml")? + &read("prometheus/rules/alerts.yml")?)
}

fn alerts(rules: &str) -> BTreeSet<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[tokio::test]
async fn every_metric_that_a_rule_or_a_board_names_is_exported_and_every_one_is_in_the_table() -> Result<()> {
    let exported = exported().await?;
    let names: BTreeSet<&str> = exported.iter().map(|metric| metric.name.as_str()).collect();
    ensure!(names.len() == exported.len(), "a name is registered twice");
    let (rules, board) = (rules()?, read("grafana/overview.json")?);
    for (document, text) in [("the rules", &rules), ("the board", &board)] {
        let found = named(text);
        ensure!(found.len() > 10, "{document} name {found:?}");
        for name in found {
            ensure!(
                exported.iter().any(|metric| belongs(name, metric)),
                "{document} name {name}, which nobody exports"
            );
        }
    }
    let table: Vec<String> =
        exported.iter().map(|metric| format!("| `{}` | {} | {} |", metric.name, metric.kind, metric.help)).collect();
    let readme = read("prometheus/README.md")?;
    let written: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `klatsch_") || line.starts_with(&format!("| `{COMMON}")))
        .collect();
    ensure!(written == table, "the table of metrics in deploy/prometheus/README.md has to be:\n{}", table.join("\n"));
    Ok(())
}

#[test]
fn every_alert_has_a_runbook_and_a_test_and_the_numbers_are_those_of_the_code() -> Result<()> {
    let (rules, readme) = (rules()?, read("prometheus/README.md")?);
    let tests = read("prometheus/tests/objectives.yml")? + &read("prometheus/tests/alerts.yml")?;
    let alerts = alerts(&rules);
    ensure!(alerts.len() > 15, "{alerts:?}");
    for alert in &alerts {
        ensure!(readme.lines().any(|line| line == format!("### {alert}")), "{alert} has no runbook");
        let link = format!("runbook: deploy/prometheus/README.md#{}\n", alert.to_lowercase());
        ensure!(rules.contains(&link), "{alert} does not say where its runbook is");
        let fires = format!("- alertname: {alert}\n");
        ensure!(tests.contains(&fires), "{alert} fires in no test");
    }
    for heading in readme.lines().filter_map(|line| line.strip_prefix("### Klatsch")) {
        ensure!(alerts.contains(format!("Klatsch{heading}").as_str()), "there is no alert Klatsch{heading}");
    }
    let objectives = read("prometheus/rules/objectives.yml")?;
    let groups: Vec<&str> = objectives.lines().filter_map(|line| line.strip_prefix("  - name: ")).collect();
    let order = format!("\ngroup_eval_order: [{}]\n", groups.join(", "));
    ensure!(tests.contains(&order), "without this, promtool takes the groups in any order: {order}");
    let partitions = spec_of(MESSAGES).partitions;
    ensure!(rules.matches(&format!(" < {partitions}\n")).count() == 2, "{MESSAGES} has {partitions} partitions");
    let bounds: Vec<String> = BOUNDS_MS.iter().map(|bound| format!("{:?}", bound / 1_000.0)).collect();
    for bound in rules.split("le=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        ensure!(bounds.iter().any(|known| known == bound), "no bucket ends at {bound} s: there are {bounds:?}");
    }
    Ok(())
}

/// Needs promtool, which comes with Prometheus.
#[test]
fn the_rules_do_what_their_tests_say() -> Result<()> {
    if !servers::wanted() {
        return Ok(());
    }
    let run = |verb: &[&str], folder: &str, files: [&str; 2]| -> Result<()> {
        let mut command = Command::new("promtool");
        command.args(verb).args(files).current_dir(deploy(folder));
        let output = command.output().context("running promtool: is Prometheus installed?")?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "promtool {}: {said}", verb.join(" "));
        Ok(())
    };
    run(&["check", "rules"], "prometheus/rules", ["objectives.yml", "alerts.yml"])?;
    run(&["test", "rules"], "prometheus/tests", ["objectives.yml", "alerts.yml"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_services_in_one_process_have_few_enough_series_and_serve_what_is_described() -> Result<()> {
    let mut single = Single::new().await?;
    let config = LoadConfig { users: 8, conversations: 16, members_max: 6, messages: 400, ..LoadConfig::default() };
    let (mut world, _) = runs::talk_on_single(&mut single, config, Harm::default()).await?;
    let text = single.program.metrics().await?;
    world.stop().await;
    single.program.stop().await?;

    let exported = exported().await?;
    let mut series: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).context("a line without a value")?;
        series.entry(&line[..end]).or_default().push(line);
    }
    for (name, lines) in &series {
        ensure!(exported.iter().any(|metric| belongs(name, metric)), "{name} is served and not described");
        let distinct: BTreeSet<_> = lines.iter().filter_map(|line| line.rsplit_once(' ').map(|(of, _)| of)).collect();
        ensure!(distinct.len() == lines.len(), "{name} is served twice: {lines:?}");
    }
    let live = ["klatsch_append_to_stored_seconds_count", "klatsch_append_to_delivered_seconds_count"];
    let engines = ["klatsch_append_seconds_count", "klatsch_store_request_seconds_count", "klatsch_storage_partitions"];
    for name in live
        .into_iter()
        .chain(engines)
        .chain(["klatsch_append_to_written_seconds_count", "klatsch_command_seconds_count"])
    {
        let counts = series.get(name).is_some_and(|lines| lines.iter().any(|line| !line.ends_with(" 0")));
        ensure!(counts, "{name} counts nothing");
    }
    let of_partitions = |lines: &[&str]| lines.iter().filter(|line| line.contains("partition=\"")).count();
    let now = spec_of(MESSAGES).partitions as usize;
    let lags = series.get("klatsch_storage_lag_seconds").map_or(0, |lines| of_partitions(lines));
    ensure!(lags == now, "{lags} of {now} partitions have a lag");
    for (group, topics) in [("storage", &STORAGE_SOURCES[..]), ("fanout", &FANOUT_SOURCES)] {
        for topic in topics {
            let held = format!("klatsch_{group}_partitions{{topic=\"{topic}\"}} {}", spec_of(topic).partitions);
            ensure!(text.lines().any(|line| line == held), "{held} is not in {text}");
        }
    }
    let all: usize = series.values().map(Vec::len).sum();
    let partitioned: usize = series.values().map(|lines| of_partitions(lines)).sum();
    // What a load did not meet, at the worst: every answer to every kind of command, every outcome of requests to the store,
    // appends to every topic that fail besides, and every partition with a follower.
    let met = |name: &str| series.get(name).map_or(0, Vec::len);
    let commands = COMMAND_KINDS * ANSWERS - met("klatsch_command_seconds_count");
    let requests = Op::ALL.len() * Outcome::ALL.len() - met("klatsch_store_request_seconds_count");
    let topics = durable().count();
    let appends = topics - met("klatsch_append_seconds_count");
    let missing = (commands + requests + appends) * (BOUNDS_MS.len() + 3) + topics;
    let most = all - partitioned + partitioned * PARTITIONS / now + missing + PARTITIONS;
    println!("{all} series, {partitioned} of them by partition: at most {most} with {PARTITIONS} partitions");
    ensure!(most <= SERIES_MAX, "at most {most} series with {PARTITIONS} partitions");
    Ok(())
}
