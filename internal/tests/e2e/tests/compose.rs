//! Checks `docker-compose.yml` without a container engine: its structure, the order of starts, and that our programs
//! know every option that it sets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_yaml_ng::Value;
use testkit::programs::{self, Ran, Setup};

/// The keys that a service may have: those of the compose specification that the file uses.
const SERVICE_KEYS: [&str; 10] = [
    "image",
    "build",
    "command",
    "environment",
    "ports",
    "volumes",
    "healthcheck",
    "depends_on",
    "restart",
    "stop_grace_period",
];
const HEALTHCHECK_KEYS: [&str; 5] = ["test", "interval", "timeout", "retries", "start_period"];
/// Variables that every program reads although they are options of none: see `process::telemetry`.
const LOG_VARIABLES: [&str; 2] = ["KLATSCH_LOG", "KLATSCH_LOG_FORMAT"];

#[test]
fn the_file_has_the_shape_of_a_compose_file() -> Result<()> {
    let file = compose()?;
    for key in keys(&file) {
        assert!(["name", "services", "volumes"].contains(&key.as_str()) || key.starts_with("x-"), "top level: {key}");
    }
    let volumes: Vec<String> = file.get("volumes").map(keys).unwrap_or_default();
    for (name, service) in services(&file)? {
        for key in keys(&service) {
            assert!(SERVICE_KEYS.contains(&key.as_str()), "{name}: {key}");
        }
        assert!(service.get("image").is_some_and(Value::is_string), "{name} has no image");
        for key in service.get("healthcheck").map(keys).unwrap_or_default() {
            assert!(HEALTHCHECK_KEYS.contains(&key.as_str()), "{name}: healthcheck: {key}");
        }
        for mount in texts(service.get("volumes")) {
            let volume = mount.split(':').next().unwrap_or_default().to_owned();
            assert!(volumes.contains(&volume), "{name} mounts {volume}, which is not declared");
        }
        for port in texts(service.get("ports")) {
            assert!(port.starts_with("127.0.0.1:"), "{name} shows port {port} to the whole network");
        }
        for (variable, value) in environment(&service) {
            let text = value.as_str().map(str::to_owned);
            assert!(text.is_some() || value.is_number(), "{name}: {variable} must be a text or a number: {value:?}");
        }
    }
    Ok(())
}

#[test]
fn everything_starts_after_what_it_needs() -> Result<()> {
    let file = compose()?;
    let services = services(&file)?;
    for (name, service) in &services {
        for (on, condition) in dependencies(service) {
            let target = services.get(&on).with_context(|| format!("{name} waits for {on}, which is not there"))?;
            match condition.as_str() {
                "service_healthy" => assert!(target.get("healthcheck").is_some(), "{on} has no health check"),
                "service_completed_successfully" => {
                    assert!(target.get("restart").is_none(), "{name} waits for the end of {on}, which is restarted");
                }
                other => panic!("{name} waits for {on} with condition {other}"),
            }
        }
        let before = all_before(name, &services, &mut Vec::new());
        for (variable, value) in environment(service) {
            let host = value.as_str().and_then(host_of);
            if let Some(host) = host.filter(|host| services.contains_key(host) && host != name) {
                // A program that runs once waits only for the server that it uses: the migration needs the store
                // alone.
                let runs_once = program(service).as_deref() == Some("klatschctl");
                assert!(runs_once || before.contains(&host), "{name} has {variable} and does not wait for {host}");
            }
        }
    }
    for (once, needs) in [("topics", "kafka"), ("topics", "schemas"), ("schemas", "registry"), ("migrate", "scylla")] {
        assert!(all_before(once, &services, &mut Vec::new()).contains(needs), "{once} does not wait for {needs}");
    }
    for verifies in ["chat-service", "websocket-service"] {
        let before = all_before(verifies, &services, &mut Vec::new());
        assert!(before.contains("user-service"), "{verifies} does not wait for the keys");
    }
    Ok(())
}

#[test]
fn health_checks_and_ports_are_those_that_programs_listen_on() -> Result<()> {
    for (name, service) in services(&compose()?)? {
        let variables = environment(&service);
        let Some(listen) = variables.get("KLATSCH_LISTEN").and_then(Value::as_str) else { continue };
        let port = listen.strip_prefix("0.0.0.0:").with_context(|| format!("{name} is not reachable at {listen}"))?;
        let test = texts(service.get("healthcheck").and_then(|check| check.get("test")));
        let url = format!("http://localhost:{port}/readyz");
        assert_eq!(test.last().map(String::as_str), Some(url.as_str()), "{name}");
        for published in texts(service.get("ports")) {
            assert_eq!(published.rsplit(':').next(), Some(port), "{name} publishes {published}");
        }
        let grace = service.get("stop_grace_period").and_then(Value::as_str).and_then(|text| text.strip_suffix('s'));
        let grace: u32 = grace.and_then(|text| text.parse().ok()).with_context(|| format!("{name} has no grace"))?;
        assert!(grace > 10, "{name} is killed before the 10 s in which it promises to end");
    }
    Ok(())
}

#[test]
fn the_image_alone_listens_where_it_says() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/image/Dockerfile");
    let image = fs::read_to_string(path)?;
    let said = |what: &str| image.lines().find_map(|line| line.strip_prefix(what)).map(str::trim);
    let port = said("EXPOSE").context("no port")?;
    assert_eq!(said("ENV KLATSCH_LISTEN="), Some(format!("0.0.0.0:{port}").as_str()));
    Ok(())
}

#[tokio::test]
async fn programs_know_every_option_that_they_are_given() -> Result<()> {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let services = services(&compose()?)?;
    for (name, service) in &services {
        let Some(program) = program(service) else { continue };
        let command = texts(service.get("command"));
        let help = help(&command).await.with_context(|| format!("{name}: {command:?}"))?;
        let variables = known.entry(program.clone()).or_default();
        variables.extend(
            help.split("[env:").skip(1).filter_map(|rest| rest.trim_start().split('=').next()).map(str::to_owned),
        );
        if program == "klatschctl" {
            // All subcommands get the same environment; each variable must be known to one of them.
            continue;
        }
        for variable in environment(service).keys().filter(|variable| variable.starts_with("KLATSCH_")) {
            let fine = variables.contains(variable) || LOG_VARIABLES.contains(&variable.as_str());
            let unused = ["KLATSCH_JWKS", "KLATSCH_CQL", "KLATSCH_REGISTRY"].contains(&variable.as_str());
            assert!(fine || unused, "{program} does not know {variable}; it knows {variables:?}");
        }
    }
    let all: BTreeSet<&String> = known.values().flatten().collect();
    for (name, service) in services.iter().filter(|(_, service)| program(service).is_some()) {
        for variable in environment(service).keys().filter(|variable| variable.starts_with("KLATSCH_")) {
            let fine = all.contains(variable) || LOG_VARIABLES.contains(&variable.as_str());
            assert!(fine, "{name}: no program knows {variable}");
        }
    }
    Ok(())
}

#[test]
fn what_is_applied_is_applied_and_not_only_shown() -> Result<()> {
    let file = compose()?;
    let topics = texts(services(&file)?["topics"].get("command"));
    assert!(topics.contains(&"--yes".to_owned()), "a dry run is klatschctl's default: {topics:?}");
    Ok(())
}

/// Issue 11, line a: a program that is forgotten here would be built and never started.
#[test]
fn every_service_and_consumer_is_started_and_in_the_readme() -> Result<()> {
    let started: BTreeSet<String> = services(&compose()?)?.values().filter_map(program).collect();
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../README.md"))?;
    for program in programs::all()? {
        assert!(program.starts_with("klatsch") || started.contains(program), "docker-compose.yml starts no {program}");
        let named = [format!("`{program}`"), format!("`cmd/{program}`")].iter().any(|name| readme.contains(name));
        assert!(named, "README.md does not name {program}");
    }
    Ok(())
}

/// The output of that command with `--help`: the arguments before it must parse.
async fn help(command: &[String]) -> Result<String> {
    let (program, arguments) = command.split_first().context("no command")?;
    let program = programs::all()?.iter().find(|known| *known == program).context("not one of our programs")?;
    let arguments = arguments.iter().map(Into::into).chain(["--help".into()]).collect();
    Ran::of(Setup { program, arguments, ..Setup::default() }).await?.success()
}

fn compose() -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docker-compose.yml");
    let mut file: Value = serde_yaml_ng::from_str(&fs::read_to_string(path)?)?;
    // Repeated, because a merged mapping may contain merges itself.
    while has_merge(&file) {
        file.apply_merge()?;
    }
    Ok(file)
}

fn has_merge(value: &Value) -> bool {
    match value {
        Value::Mapping(mapping) => mapping.iter().any(|(key, value)| key.as_str() == Some("<<") || has_merge(value)),
        Value::Sequence(values) => values.iter().any(has_merge),
        _ => false,
    }
}

fn services(file: &Value) -> Result<BTreeMap<String, Value>> {
    let services = file.get("services").and_then(Value::as_mapping).context("no services")?;
    Ok(services.iter().filter_map(|(name, service)| Some((name.as_str()?.to_owned(), service.clone()))).collect())
}

/// The name of our program that a service runs.
fn program(service: &Value) -> Option<String> {
    let ours = service.get("image").and_then(Value::as_str).is_some_and(|image| image.starts_with("klatsch:"));
    texts(service.get("command")).into_iter().next().filter(|_| ours)
}

fn environment(service: &Value) -> BTreeMap<String, Value> {
    let variables = service.get("environment").and_then(Value::as_mapping);
    let named = variables.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str()?, value)));
    named.map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

fn dependencies(service: &Value) -> BTreeMap<String, String> {
    let named = service.get("depends_on").and_then(Value::as_mapping).into_iter().flatten();
    let condition = |value: &Value| value.get("condition").and_then(Value::as_str).unwrap_or_default().to_owned();
    named.filter_map(|(name, value)| Some((name.as_str()?.to_owned(), condition(value)))).collect()
}

/// All services that must be up, or must have completed, before `name` starts.
fn all_before(name: &str, services: &BTreeMap<String, Value>, path: &mut Vec<String>) -> BTreeSet<String> {
    assert!(!path.iter().any(|step| step == name), "{name} waits for itself: {path:?}");
    path.push(name.to_owned());
    let mut before = BTreeSet::new();
    for on in dependencies(&services[name]).into_keys() {
        before.extend(all_before(&on, services, path));
        before.insert(on);
    }
    path.pop();
    before
}

/// The host of `host:port` or of a URL.
fn host_of(value: &str) -> Option<String> {
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    rest.split_once(':').map(|(host, _)| host.to_owned())
}

fn keys(value: &Value) -> Vec<String> {
    let mapping = value.as_mapping().into_iter().flatten();
    mapping.filter_map(|(key, _)| key.as_str().map(str::to_owned)).collect()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let texts = value.and_then(Value::as_sequence).into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
