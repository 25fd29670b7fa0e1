//! From a command to a call of `ops`, and its answer to lines.

use std::path::Path;

use clap::CommandFactory as _;
use eventlog::TopicPartition;
use host::{Clock, Entropy};
use ops::checksum::{Checksum, checksum};
use ops::doctor::{Level, Opened, Patient, examine};
use ops::tail::{From, Tail, tail};
use ops::{Exit, OpsError, drops, groups, holds, schemas, topics};
use store::Dropped;
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;
use crate::options::{
    ChecksumOptions, Command, DoctorOptions, DropOptions, GroupsCommand, HoldsCommand, Options, ReplayCommand,
    SchemasCommand, TailOptions, TopicsCommand,
};
use crate::output::{dry_run, insist, json, say, text_of};
use crate::progress::Progress;
use crate::{audit, chat, incarnations, replay};

pub(crate) async fn run(options: Options, stop: &CancellationToken) -> Result<Exit, OpsError> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let command = match options.command {
        Command::Chat(options) => return chat::chat(options, &clock, &entropy, stop).await,
        Command::Completions { shell } => return completions(shell),
        command => command,
    };
    let mut engines = Engines::new(&options.engines, &clock)?;
    let outcome = match command {
        Command::Topics(TopicsCommand::Apply { yes }) => topics_apply(&mut engines, yes, &entropy).await,
        Command::Topics(TopicsCommand::Check) => topics_check(&mut engines).await,
        Command::Schemas(command) => registry(&engines, command).await,
        Command::Migrate => migrate(&mut engines).await,
        Command::Replay(ReplayCommand::Storage(options)) => {
            replay::storage(&mut engines, &options, &entropy, stop).await
        }
        Command::Incarnations(command) => incarnations::run(&mut engines, command, &entropy, stop).await,
        Command::Checksum(options) => sums(&mut engines, &options).await,
        Command::Audit(options) => audit::run(&mut engines, &options, &clock, &entropy, stop).await,
        Command::Holds(command) => held(&mut engines, command, &clock).await,
        Command::Groups(command) => group(&mut engines, command).await,
        Command::Doctor(options) => doctor(&mut engines, options, &clock).await,
        Command::Tail(options) => show(&mut engines, options, stop).await,
        Command::Chat(_) | Command::Completions { .. } => Ok(Exit::Ok),
    };
    engines.close().await;
    outcome
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, OpsError> {
    let (mut command, mut script) = (Options::command(), Vec::new());
    clap_complete::generate(shell, &mut command, "klatschctl", &mut script);
    insist(String::from_utf8_lossy(&script).trim_end()).map(|()| Exit::Ok)
}

async fn topics_apply(engines: &mut Engines, yes: bool, entropy: &Entropy) -> Result<Exit, OpsError> {
    let log = engines.log().await?;
    if yes {
        let codec = engines.codec().await?;
        let mut steps = Vec::new();
        let applied = topics::apply(&*log, &codec, entropy, |step| steps.push(step.to_string())).await;
        steps.iter().try_for_each(say)?;
        let done = applied?;
        say(if done == 0 { "all topics are in place".to_owned() } else { format!("{done} steps done") })?;
        return Ok(Exit::Ok);
    }
    let plan = topics::plan(&*log).await?;
    plan.steps.iter().try_for_each(|step| say(step.to_string()))?;
    let faults: Vec<String> = plan.faults.into_iter().chain(plan.lost).collect();
    if !faults.is_empty() {
        return Err(OpsError::Refused(faults));
    }
    if plan.steps.is_empty() {
        say("all topics are in place")?
    } else {
        dry_run()?
    }
    Ok(Exit::Ok)
}

async fn topics_check(engines: &mut Engines) -> Result<Exit, OpsError> {
    let plan = topics::plan(&*engines.log().await?).await?;
    let missing = plan.steps.iter().map(|step| format!("missing: {step}"));
    let faults: Vec<String> = missing.chain(plan.faults).chain(plan.lost).collect();
    if !faults.is_empty() {
        return Err(OpsError::Refused(faults));
    }
    say("all topics are in place").map(|()| Exit::Ok)
}

async fn registry(engines: &Engines, command: SchemasCommand) -> Result<Exit, OpsError> {
    let missing = || OpsError::Usage("where is the registry? --registry URL".into());
    let url = engines.registry.as_deref().ok_or_else(missing)?;
    match command {
        SchemasCommand::Register => {
            schemas::register(url).await?;
            say("all schemas are registered")?;
            Ok(Exit::Ok)
        }
        SchemasCommand::Check => {
            let reports = schemas::check(url).await?;
            for report in &reports {
                let verdict = if report.compatible { "fits" } else { "DOES NOT FIT" };
                let reason = report.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
                say(format!("{} {verdict}{reason}", report.subject))?;
            }
            Ok(if reports.iter().all(|report| report.compatible) { Exit::Ok } else { Exit::Differs })
        }
    }
}

async fn migrate(engines: &mut Engines) -> Result<Exit, OpsError> {
    engines.migrate().await?.iter().try_for_each(say)?;
    Ok(Exit::Ok)
}

async fn sums(engines: &mut Engines, options: &ChecksumOptions) -> Result<Exit, OpsError> {
    let other = options.compare.as_deref().map(read_checksum).transpose()?;
    let store = engines.store().await?;
    let mut progress = Progress::new("reading");
    let mut here = checksum(&*store, options.table.as_deref(), |table, rows| progress.count(rows, table)).await?;
    progress.end();
    if options.json {
        json(&here)?;
    } else {
        for table in &here.tables {
            say(format!("{}  {:>10}  {}", table.digest, table.rows, table.table))?;
        }
        say(format!("{}  total, at incarnation {}", here.total, here.incarnation))?;
    }
    let Some(mut other) = other else { return Ok(Exit::Ok) };
    if let Some(only) = &options.table {
        other.tables.retain(|table| table.table == *only);
        here.tables.retain(|table| table.table == *only);
    }
    let differences = here.differences(&other);
    if differences.is_empty() {
        eprintln!("the same");
        return Ok(Exit::Ok);
    }
    Err(OpsError::Refused(differences))
}

fn read_checksum(file: &Path) -> Result<Checksum, OpsError> {
    let bytes = std::fs::read(file).map_err(|error| OpsError::Usage(format!("{}: {error}", file.display())))?;
    let wrong = |error| OpsError::Usage(format!("{} is not from 'checksum --json': {error}", file.display()));
    serde_json::from_slice(&bytes).map_err(wrong)
}

async fn held(engines: &mut Engines, command: HoldsCommand, clock: &Clock) -> Result<Exit, OpsError> {
    let store = engines.store().await?;
    let redrives = matches!(command, HoldsCommand::Redrive { .. });
    let conversation = match command {
        HoldsCommand::List { json: as_json } => {
            let all = holds::list(&*store).await?;
            if as_json {
                return json(&all).map(|()| Exit::Ok);
            }
            if all.is_empty() {
                say("no conversation is held")?;
            }
            for held in &all {
                let (skipped, done) = (place(held.skipped_to), place(held.done_through));
                let (conversation, consumer, partition) = (held.conversation, held.consumer, held.partition);
                say(format!("{conversation}  {consumer}  partition {partition}  done {done}  skipped to {skipped}"))?;
            }
            return Ok(Exit::Ok);
        }
        HoldsCommand::Drop(options) => return drop_event(engines, options, clock).await,
        HoldsCommand::Dropped => {
            for (partition, dropped) in drops::list(&*store).await? {
                let Dropped { seq, conversation, by, why, time_ms } = dropped;
                say(format!("{conversation}  partition {partition}  {seq}  by {by} at {time_ms} ms: {why}"))?;
            }
            return Ok(Exit::Ok);
        }
        HoldsCommand::Show { conversation } | HoldsCommand::Redrive { conversation } => conversation,
    };
    let log = engines.log().await?;
    let codec = engines.codec().await?;
    let shown = holds::show(&*store, &*log, &codec, conversation).await?;
    if shown.rows.is_empty() {
        say(format!("{conversation} (partition {}) was never held", shown.partition))?;
    }
    for (row, is_held) in &shown.rows {
        let now = if *is_held { "held" } else { "was held, healed" };
        let (done, skipped) = (place(row.done_through), place(row.skipped_to));
        say(format!("{}: {now}, done {done}, skipped to {skipped}", row.consumer))?;
    }
    for (consumer, words) in &shown.waits_at {
        say(format!("{consumer} waits at {words}"))?;
    }
    if redrives && !shown.waits_at.is_empty() {
        return Err(OpsError::Refused(vec![format!("nothing was sent: {}", holds::REDRIVE_WORDS)]));
    }
    Ok(Exit::Ok)
}

async fn drop_event(engines: &mut Engines, options: DropOptions, clock: &Clock) -> Result<Exit, OpsError> {
    let (store, log, codec) = (engines.store().await?, engines.log().await?, engines.codec().await?);
    let DropOptions { conversation, at, by, why, i_know_that_no_upgrade_will_ever_read_it: sure } = options;
    let dropped = Dropped { seq: drops::at(conversation, at)?, conversation, by, why, time_ms: clock.now_ms() };
    let plan = drops::plan(&*store, &*log, &codec, dropped).await?;
    say(format!("{conversation} waits at {at}: {}", plan.words))?;
    if !sure {
        say("nothing was done: --i-know-that-no-upgrade-will-ever-read-it drops it, for ever")?;
        return Ok(Exit::Ok);
    }
    drops::perform(&*store, &*log, &codec, &plan).await?;
    say("dropped, and copied to chat.quarantine; the consumers go on behind it within a minute")?;
    Ok(Exit::Ok)
}

fn place(seq: Option<domain::Seq>) -> String {
    seq.map_or_else(|| "nothing".to_owned(), |seq| format!("{seq:?}"))
}

async fn group(engines: &mut Engines, command: GroupsCommand) -> Result<Exit, OpsError> {
    let log = engines.log().await?;
    match command {
        GroupsCommand::List { json: true } => json(&groups::list(&*log).await?)?,
        GroupsCommand::List { json: false } => {
            groups::list(&*log).await?.iter().try_for_each(|position| say(position.to_string()))?;
        }
        GroupsCommand::Set { topic, partition, offset, yes } => {
            let at = TopicPartition::new(topic, partition);
            say(groups::plan_set(&*log, &at, offset).await?)?;
            if !yes {
                return dry_run().map(|()| Exit::Ok);
            }
            groups::set(&*log, &at, offset).await?;
            say("done")?;
        }
    }
    Ok(Exit::Ok)
}

async fn doctor(engines: &mut Engines, options: DoctorOptions, clock: &Clock) -> Result<Exit, OpsError> {
    let patient = Patient {
        log: opened(engines.log().await, engines.name_log()),
        store: opened(engines.store().await, engines.name_store()),
        registry: engines.registry.clone(),
        services: options.url,
        jwks: options.jwks,
        clock: clock.clone(),
    };
    let found = examine(&patient).await;
    if options.json {
        json(&found)?;
    } else {
        found.0.iter().try_for_each(|finding| say(finding.to_string()))?;
    }
    Ok(if found.worst() == Level::Fail { Exit::Differs } else { Exit::Ok })
}

fn opened<T>(engine: Result<T, OpsError>, named: bool) -> Opened<T> {
    match engine {
        Ok(engine) => Opened::Yes(engine),
        Err(OpsError::Busy(reason)) => Opened::InUse(reason),
        Err(error) if !named => Opened::NotNamed(error.to_string()),
        Err(error) => Opened::No(error.to_string()),
    }
}

async fn show(engines: &mut Engines, options: TailOptions, stop: &CancellationToken) -> Result<Exit, OpsError> {
    let TailOptions { topic, partition, from, follow, bodies } = options;
    let wrong = || OpsError::Usage(format!("'{from}' is no place: 'start', an offset, or '-N' for the last N"));
    let from = match from.as_str() {
        "start" => From::Start,
        text => match text.strip_prefix('-') {
            Some(last) => From::Last(last.parse().map_err(|_| wrong())?),
            None => From::Offset(text.parse().map_err(|_| wrong())?),
        },
    };
    let (log, codec) = (engines.log().await?, engines.codec().await?);
    let what = Tail { topic, partition, from, follow, bodies };
    tail(&*log, &codec, &what, stop, |line| insist(&text_of(&line)?)).await?;
    Ok(Exit::Ok)
}
