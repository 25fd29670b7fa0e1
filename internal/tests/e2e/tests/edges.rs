//! The rules of the workspace: allowed dependencies between crates, engine libraries that only one crate may use,
//! the length of files, and one build for programs and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// The crates of the workspace that each crate may use. Downwards only; a new edge is a design change, with a commit
/// of its own.
const ALLOWED: &[(&str, &[&str])] = &[
    // The bottom: these use no other crate of the workspace.
    ("domain", &[]),
    ("environment", &[]),
    ("kv", &[]),
    ("markdown", &[]),
    ("secret", &[]),
    ("workload", &["domain"]),
    ("events", &["domain"]),
    ("auth", &["domain", "environment"]),
    ("protocol", &["domain", "secret"]),
    ("api", &["auth", "domain", "environment", "protocol"]),
    ("process", &["api", "environment", "protocol", "secret"]),
    // The log and the store, each with its embedded engine; then the real engines.
    ("eventlog", &["domain", "events", "environment", "kv"]),
    ("store", &["domain", "events", "environment", "kv"]),
    ("eventlog-kafka", &["domain", "eventlog", "events"]),
    ("store-scylla", &["domain", "events", "secret", "store"]),
    // The base of every consumer: a new consumer is a crate beside storage and fanout that uses this one.
    ("consumer", &["domain", "eventlog", "events", "environment", "process", "store"]),
    // Services use the interfaces of log and store, no engine. They communicate through the log and the store, and
    // do not use one another.
    ("commands", &["api", "domain", "eventlog", "events", "environment", "protocol", "store"]),
    (
        "chat",
        &["api", "auth", "commands", "domain", "eventlog", "events", "environment", "protocol", "process", "store"],
    ),
    (
        "sockets",
        &[
            "api",
            "auth",
            "commands",
            "domain",
            "eventlog",
            "events",
            "environment",
            "protocol",
            "process",
            "secret",
            "store",
        ],
    ),
    (
        "users",
        &["api", "auth", "domain", "eventlog", "events", "environment", "protocol", "process", "secret", "store"],
    ),
    ("storage", &["consumer", "domain", "eventlog", "events", "environment", "process", "store"]),
    ("fanout", &["consumer", "domain", "eventlog", "events", "environment", "protocol", "process", "store"]),
    // Bots and the terminal are clients: they use the public API only.
    ("client", &["domain", "environment", "protocol", "secret"]),
    ("load", &["client", "environment"]),
    ("klatsch-load", &["load", "process"]),
    ("terminal", &["client", "domain", "environment", "markdown", "protocol", "secret"]),
    // The operators' tools, which replay with storage's code.
    ("ops", &["auth", "domain", "eventlog", "events", "environment", "process", "storage", "store"]),
    // The operators' commands, on engines that the program opens.
    ("operate", &["domain", "eventlog", "events", "environment", "ops", "process", "storage", "store"]),
    // What the programs of the cluster share. Engines are chosen here and in the programs below.
    (
        "backends",
        &["auth", "eventlog", "eventlog-kafka", "events", "environment", "ops", "process", "store", "store-scylla"],
    ),
    ("chat-service", &["chat", "backends", "process"]),
    ("user-service", &["auth", "backends", "process", "users"]),
    ("websocket-service", &["backends", "process", "sockets"]),
    ("storage-consumer", &["backends", "process", "storage"]),
    ("fanout-consumer", &["backends", "fanout", "process"]),
    (
        "klatsch",
        &[
            "auth",
            "chat",
            "eventlog",
            "events",
            "fanout",
            "environment",
            "kv",
            "operate",
            "ops",
            "process",
            "sockets",
            "storage",
            "store",
            "users",
        ],
    ),
    (
        "klatschctl",
        &[
            "backends",
            "client",
            "eventlog",
            "eventlog-kafka",
            "events",
            "environment",
            "kv",
            "operate",
            "ops",
            "process",
            "store",
            "store-scylla",
            "terminal",
        ],
    ),
    // Tests of whole systems may use every crate; only tests may use them.
    (
        "testkit",
        &[
            "auth",
            "domain",
            "eventlog",
            "eventlog-kafka",
            "events",
            "fanout",
            "environment",
            "kv",
            "protocol",
            "process",
            "secret",
            "storage",
            "store",
            "store-scylla",
            "workload",
        ],
    ),
    ("e2e", &["domain", "events", "testkit"]),
    (
        "bench",
        &[
            "domain",
            "environment",
            "eventlog",
            "eventlog-kafka",
            "events",
            "fanout",
            "kv",
            "process",
            "storage",
            "store",
            "testkit",
        ],
    ),
    (
        "sim",
        &[
            "auth",
            "chat",
            "domain",
            "eventlog",
            "events",
            "fanout",
            "environment",
            "kv",
            "ops",
            "protocol",
            "process",
            "secret",
            "sockets",
            "storage",
            "store",
            "testkit",
            "workload",
        ],
    ),
    ("fuzz", &["auth", "chat", "domain", "eventlog", "events", "ops", "protocol", "process", "sockets", "store"]),
    ("powercut", &[]),
];

/// What tests of any crate may use in addition: the embedded engine's tables in memory, random histories, real
/// servers.
const ALLOWED_IN_TESTS: [&str; 4] = ["environment", "kv", "testkit", "workload"];
/// Some tests may use another service or engine, because they test both together.
const ALLOWED_IN_TESTS_OF: &[(&str, &[&str])] = &[
    ("chat", &["storage"]),
    ("fanout", &["storage"]),
    // For the scripted server of the client's tests.
    ("load", &["domain", "protocol", "secret"]),
    ("powercut", &["domain", "eventlog", "events", "store"]),
    (
        "e2e",
        &[
            "auth",
            "backends",
            "chat",
            "client",
            "eventlog",
            "eventlog-kafka",
            "fanout",
            "ops",
            "protocol",
            "process",
            "secret",
            "sockets",
            "storage",
            "store",
            "store-scylla",
            "terminal",
            "users",
        ],
    ),
    ("ops", &["chat", "eventlog-kafka", "fanout", "sockets", "store-scylla", "users"]),
    ("sockets", &["chat", "fanout", "storage", "users"]),
    ("users", &["fanout"]),
];

/// Foreign crates that these crates must not depend on at any depth, so that a bot's author does not build them.
const NO_SERVER_IN: [(&str, &[&str]); 2] =
    [("protocol", &["axum", "hyper", "tokio", "reqwest"]), ("client", &["axum", "clap", "jsonwebtoken"])];

/// The crate that measures the bare drivers, as floors of what is built on them.
const FLOORS: &str = "bench";
/// Foreign crates that only one crate of the workspace may use, and [`FLOORS`].
const HIDDEN: [(&str, &str); 3] = [("rdkafka", "eventlog-kafka"), ("scylla", "store-scylla"), ("fjall", "kv")];

/// Names of the code that makes rows of effects, and of its parts.
const MAKES_ROWS: [&str; 7] = ["rows_of", "Row", "CellWrites", "CellSet", "CELL_SETS", "bucket_of", "BUCKET_SLOTS"];

/// The most lines that a source file may have.
const LINES_MAX: usize = 500;
/// Folders without source code of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "data"];

#[test]
fn crates_depend_downwards_only() -> Result<()> {
    let (metadata, allowed) = (metadata()?, ALLOWED.iter().copied().collect::<BTreeMap<_, _>>());
    let in_tests_of: BTreeMap<_, _> = ALLOWED_IN_TESTS_OF.iter().copied().collect();
    let ours: BTreeSet<&str> = metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    let mut faults = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(allowed) = allowed.get(name) else {
            faults.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| ours.contains(dependency.name.as_str())) {
            let on = dependency.name.as_str();
            let in_test = ALLOWED_IN_TESTS.contains(&on)
                || in_tests_of.get(name).is_some_and(|more| more.contains(&on))
                || allowed.contains(&on);
            let right = if dependency.kind == DependencyKind::Development { in_test } else { allowed.contains(&on) };
            if !right {
                faults.push(format!("{name} -> {on} ({:?})", dependency.kind));
            }
        }
    }
    assert!(faults.is_empty(), "edges that the table does not have: {faults:#?}");
    Ok(())
}

#[test]
fn each_foreign_engine_is_named_by_one_crate() -> Result<()> {
    for package in metadata()?.workspace_packages() {
        for (engine, wrapper) in HIDDEN {
            let names = package.dependencies.iter().any(|dependency| dependency.name == engine);
            let may = [wrapper, FLOORS].contains(&package.name.as_str());
            assert!(!names || may, "{} names {engine}", package.name);
        }
    }
    Ok(())
}

/// Frames and bodies are for clients, too, so these crates must not depend on anything that only a server needs.
#[test]
fn clients_are_built_without_a_server() -> Result<()> {
    // Crates for other systems are not downloaded by a build.
    let options = ["--offline".to_owned(), format!("--filter-platform={}", host()?)];
    let metadata = MetadataCommand::new().other_options(options).exec().context("cargo metadata")?;
    let resolve = metadata.resolve.as_ref().context("cargo metadata resolves no dependencies")?;
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    for (name, banned) in NO_SERVER_IN {
        let start = metadata.packages.iter().find(|package| package.name == name).context(name)?;
        let (mut seen, mut open) = (BTreeSet::from([&start.id]), vec![&start.id]);
        while let Some(id) = open.pop() {
            let in_build = |kind: &cargo_metadata::DepKindInfo| kind.kind == DependencyKind::Normal;
            let used = nodes[id].deps.iter().filter(|dependency| dependency.dep_kinds.iter().any(in_build));
            open.extend(used.map(|dependency| &dependency.pkg).filter(|on| seen.insert(on)));
        }
        assert!(seen.len() > 1, "{name} depends on nothing: the graph was not followed");
        let found = metadata.packages.iter().filter(|package| seen.contains(&package.id));
        let found: Vec<_> = found.map(|package| package.name.as_str()).filter(|on| banned.contains(on)).collect();
        assert!(found.is_empty(), "{name} is built with {found:?}");
    }
    Ok(())
}

/// The audit's and the oracle's own views are written from the design. If they used the code that storage writes
/// with, a mistake in it would be on both sides of the comparison. (Frames need no check: `ops` may not use
/// `protocol`.)
#[test]
fn the_oracles_use_nothing_that_makes_rows() -> Result<()> {
    let internal = metadata()?.workspace_root.into_std_path_buf().join("internal");
    for (folder, files_min) in [("ops/src/audit", 8), ("tests/testkit/src/oracle", 3)] {
        let files = sources(&internal.join(folder))?;
        ensure!(files.len() >= files_min, "only {} files in {folder}", files.len());
        for path in files {
            let text = fs::read_to_string(&path)?;
            let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            let named = MAKES_ROWS.iter().find(|name| words(&code).any(|word| word == **name));
            ensure!(named.is_none(), "{} uses {}", path.display(), named.unwrap_or(&""));
        }
    }
    Ok(())
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The features that compile seeded bugs in. None is on by default, and no dependency switches one on.
const BUG_FEATURES: [(&str, &str); 3] =
    [("sim", "seeded-bugs"), ("process", "seeded-bugs"), ("klatsch", "seeded-bugs")];

/// No program compiles with the feature of `environment::seeded_bugs` unless it is asked for by name; this test ensures
/// that only the simulator and a `klatsch` for load tests can be.
#[test]
fn bugs_on_purpose_are_switched_on_by_name_only() -> Result<()> {
    for package in metadata()?.workspace_packages() {
        let on = |features: &[String]| features.iter().any(|feature| feature.ends_with("seeded-bugs"));
        let depends = package.dependencies.iter().any(|dependency| on(&dependency.features));
        assert!(!depends, "{} depends on a crate with its bugs on", package.name);
        for (feature, enables) in &package.features {
            let own = BUG_FEATURES.contains(&(package.name.as_str(), feature.as_str()));
            assert!(own || !on(enables), "{} switches bugs on with {feature}", package.name);
        }
    }
    Ok(())
}

#[test]
fn no_file_is_too_long() -> Result<()> {
    let mut long = Vec::new();
    for path in sources(metadata()?.workspace_root.as_std_path())? {
        let lines = fs::read_to_string(&path)?.lines().count();
        if lines > LINES_MAX {
            long.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "more than {LINES_MAX}: {long:#?}");
    Ok(())
}

/// The same dependency with other features is built again, with everything that depends on it, which takes minutes.
#[test]
fn programs_and_tests_share_one_build() -> Result<()> {
    let of_tests = features(&["--workspace", "--edges", "normal,dev,no-proc-macro"])?;
    let of_programs = features(&["--edges", "normal,no-proc-macro"])?;
    assert!(of_programs.len() > 100, "cargo tree says little: {of_programs:?}");
    let others: Vec<_> = of_programs.difference(&of_tests).collect();
    assert!(others.is_empty(), "name these features in the root manifest, they differ: {others:#?}");
    Ok(())
}

/// Each dependency with its features, as Cargo resolves them for these arguments.
fn features(arguments: &[&str]) -> Result<BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["tree", "--offline", "--prefix", "none", "--format", "{p} {f}"]).args(arguments);
    let output = command.current_dir(&metadata()?.workspace_root).output().context("running cargo tree")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect())
}

/// The system that the tests run on, as the compiler names it.
fn host() -> Result<String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = std::process::Command::new(rustc).arg("-vV").output().context("running rustc")?.stdout;
    let version = String::from_utf8(version)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

fn metadata() -> Result<Metadata> {
    MetadataCommand::new().no_deps().other_options(["--offline".to_owned()]).exec().context("running cargo metadata")
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if SKIPPED.contains(&entry.file_name().to_string_lossy().as_ref()) {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}
