//! The direction of dependencies, as a table: a new edge between our crates is a design change, made here and in a
//! commit of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// What each crate may name in `[dependencies]`. Tests (`[dev-dependencies]`) may name more.
const EDGES: &[(&str, &str)] = &[
    ("host", ""),
    ("kv", ""),
    ("domain", ""),
    ("workload", "domain"),
    ("events", "domain"),
    ("auth", "domain host"),
    ("api", "auth domain host"),
    ("runtime", "api host"),
    ("eventlog", "domain events host kv"),
    ("eventlog-kafka", "eventlog events"),
    ("store", "domain events host kv"),
    ("store-scylla", "domain events store"),
    ("commands", "api domain eventlog events host store"),
    ("storage", "domain eventlog events host runtime store"),
    ("fanout", "api domain eventlog events host runtime store"),
    ("chat", "api auth commands domain eventlog events host runtime store"),
    ("sockets", "api auth commands domain eventlog events host runtime store"),
    ("users", "api auth domain eventlog events host runtime store"),
    ("ops", "api auth domain eventlog events host runtime storage store"),
    ("cluster", "auth eventlog eventlog-kafka events host ops runtime store store-scylla"),
    ("chat-service", "chat cluster runtime"),
    ("websocket-service", "cluster runtime sockets"),
    ("user-service", "auth cluster runtime users"),
    ("storage-consumer", "cluster runtime storage"),
    ("fanout-consumer", "cluster fanout runtime"),
    ("klatsch", "auth chat eventlog events fanout host kv ops runtime sockets storage store users"),
    ("klatschctl", "auth domain eventlog eventlog-kafka events host kv ops runtime storage store store-scylla"),
];

/// Crates that only tests use: they may name anything, and nothing that is shipped may name them.
const FOR_TESTS: &[&str] = &["testkit", "e2e", "workload"];

/// Engines' libraries, and the one crate that may name each.
const ENGINES: &[(&str, &str)] = &[("rdkafka", "eventlog-kafka"), ("scylla", "store-scylla"), ("fjall", "kv")];

/// Lines of a file, at most.
const FILE_LINES_MAX: usize = 500;

fn packages() -> Vec<Package> {
    MetadataCommand::new().no_deps().exec().expect("cargo tells about the workspace").packages
}

fn named(package: &Package) -> BTreeSet<&str> {
    let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.as_str()).collect()
}

#[test]
fn our_crates_depend_on_one_another_as_the_table_says() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let table: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(from, to)| (*from, to.split_whitespace().collect())).collect();
    for package in &packages {
        let name = package.name.as_str();
        let Some(allowed) = table.get(name) else {
            assert!(FOR_TESTS.contains(&name), "{name} is not in the table of edges");
            continue;
        };
        let edges: BTreeSet<&str> = named(package).intersection(&ours).copied().collect();
        let extra: Vec<_> = edges.difference(allowed).collect();
        assert!(extra.is_empty(), "{name} depends on {extra:?}: a new edge is a design change, made in this table");
        for test_only in FOR_TESTS.iter().filter(|_| !FOR_TESTS.contains(&name)) {
            assert!(!edges.contains(test_only), "{name} ships {test_only}");
        }
    }
}

#[test]
fn an_engine_is_named_by_one_crate() {
    for package in packages() {
        for (engine, owner) in ENGINES {
            let names = package.dependencies.iter().any(|dependency| dependency.name == *engine);
            assert!(!names || package.name.as_str() == *owner, "{} names {engine}; only {owner} may", package.name);
        }
    }
}

#[test]
fn files_stay_short_enough_to_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = vec![root.join("internal"), root.join("cmd")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the workspace").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = std::fs::read_to_string(&path).expect("a source file").lines().count();
                assert!(lines <= FILE_LINES_MAX, "{}: {lines} lines; split it by noun", path.display());
            }
        }
    }
}
