//! Runs a command: calls `ops` and prints the result.

use std::path::Path;
use std::time::Duration;

use eventlog::TopicPartition;
use ops::checksum::{Checksum, checksum};
use ops::doctor::{Level, Opened, Targets, examine};
use ops::tail::{From, Tail, tail};
use ops::{Exit, OpsError, drops, groups, holds, schemas, topics};
use store::Dropped;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::command::{
    ChecksumOptions, Command, DoctorOptions, DropOptions, GroupsCommand, HoldsCommand, ReplayCommand, SchemasCommand,
    TailOptions, TopicsCommand,
};
use crate::context::Context;
use crate::engines::Engines;
use crate::output::{Output, text_of};
use crate::progress::Progress;
use crate::{audit, incarnations, replay};

/// Digits of a checksum in the output for people: 128 bits, so that a line fits a terminal of 80 columns. JSON has all
/// 64.
const DIGITS: usize = 32;

/// How long a command that is told to stop may take to end in order.
pub const END_WITHIN: Duration = Duration::from_secs(5);

/// Runs the command and closes what was opened for it. A command that is told to stop ends in order, or is given up
/// after [`END_WITHIN`].
///
/// # Errors
/// When it failed; some of its work may be done by then.
pub async fn run(command: Command, engines: &mut dyn Engines, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let outcome = unless_given_up(done(command, engines, cx), cx.stop, END_WITHIN).await;
    engines.close().await;
    outcome
}

/// The result of the work, which may take `within` longer once `stop` is cancelled; then it is given up.
pub(crate) async fn unless_given_up(
    work: impl Future<Output = Result<Exit, OpsError>>,
    stop: &CancellationToken,
    within: Duration,
) -> Result<Exit, OpsError> {
    let given_up = async {
        stop.cancelled().await;
        sleep(within).await;
    };
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = given_up => Err(OpsError::stopped()),
    }
}

async fn done(command: Command, engines: &mut dyn Engines, cx: &Context<'_>) -> Result<Exit, OpsError> {
    match command {
        Command::Topics(TopicsCommand::Apply { yes }) => topics_apply(engines, yes, cx).await,
        Command::Topics(TopicsCommand::Check) => topics_check(engines, cx).await,
        Command::Schemas(command) => registry(engines, command, cx).await,
        Command::Migrate => migrate(engines, cx).await,
        Command::Replay(ReplayCommand::Storage(options)) => replay::storage(engines, &options, cx).await,
        Command::Incarnations(command) => incarnations::run(engines, command, cx).await,
        Command::Checksum(options) => sums(engines, &options, cx).await,
        Command::Audit(options) => audit::run(engines, &options, cx).await,
        Command::Holds(command) => held(engines, command, cx).await,
        Command::Groups(command) => group(engines, command, cx).await,
        Command::Doctor(options) => doctor(engines, options, cx).await,
        Command::Tail(options) => show(engines, options, cx).await,
    }
}

async fn topics_apply(engines: &mut dyn Engines, yes: bool, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let log = engines.log().await?;
    if yes {
        let codec = engines.codec().await?;
        let mut steps = Vec::new();
        let applied = topics::apply(&*log, &codec, cx.entropy, |step| steps.push(step.to_string())).await;
        steps.iter().try_for_each(|line| cx.say(line))?;
        let done = applied?;
        warn(&topics::plan(&*log).await?.warnings, cx)?;
        cx.say(if done == 0 { "all topics are in place".to_owned() } else { format!("{done} steps done") })?;
        return Ok(Exit::Ok);
    }
    let plan = topics::plan(&*log).await?;
    warn(&plan.warnings, cx)?;
    plan.steps.iter().try_for_each(|step| cx.say(step.to_string()))?;
    let faults: Vec<String> = plan.faults.into_iter().chain(plan.lost).collect();
    if !faults.is_empty() {
        return Err(OpsError::Refused(faults));
    }
    if plan.steps.is_empty() {
        cx.say("all topics are in place")?
    } else {
        cx.dry_run()?
    }
    Ok(Exit::Ok)
}

/// Says what is wrong with topics that nothing waits for.
fn warn(warnings: &[String], cx: &Context<'_>) -> Result<(), OpsError> {
    warnings.iter().try_for_each(|warning| cx.say(format!("warning: {warning}")))
}

async fn topics_check(engines: &mut dyn Engines, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let plan = topics::plan(&*engines.log().await?).await?;
    warn(&plan.warnings, cx)?;
    let missing = plan.steps.iter().map(|step| format!("missing: {step}"));
    let faults: Vec<String> = missing.chain(plan.faults).chain(plan.lost).collect();
    if !faults.is_empty() {
        return Err(OpsError::Refused(faults));
    }
    cx.say("all topics are in place").map(|()| Exit::Ok)
}

async fn registry(engines: &dyn Engines, command: SchemasCommand, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let missing = || OpsError::Usage("where is the registry? --registry URL".into());
    let url = engines.registry().ok_or_else(missing)?;
    match command {
        SchemasCommand::Register => {
            schemas::register(url).await?;
            cx.say("all schemas are registered")?;
            Ok(Exit::Ok)
        }
        SchemasCommand::Check => {
            let reports = schemas::check(url).await?;
            for report in &reports {
                let verdict = if report.compatible { "fits" } else { "DOES NOT FIT" };
                let reason = report.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
                cx.say(format!("{} {verdict}{reason}", report.subject))?;
            }
            Ok(if reports.iter().all(|report| report.compatible) { Exit::Ok } else { Exit::Differs })
        }
    }
}

async fn migrate(engines: &mut dyn Engines, cx: &Context<'_>) -> Result<Exit, OpsError> {
    engines.migrate().await?.iter().try_for_each(|line| cx.say(line))?;
    Ok(Exit::Ok)
}

async fn sums(engines: &mut dyn Engines, options: &ChecksumOptions, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let other = options.compare.as_deref().map(|file| read_checksum(cx.output, file)).transpose()?;
    let store = engines.store().await?;
    let mut progress = Progress::new(cx.output, "reading");
    let mut here = checksum(&*store, options.table.as_deref(), |table, rows| progress.count(rows, table)).await?;
    progress.end();
    if options.json {
        cx.json(&here)?;
    } else {
        for table in &here.tables {
            cx.say(format!("{:.DIGITS$}  {:>10}  {}", table.digest, table.rows, table.table))?;
        }
        cx.say(format!("{:.DIGITS$}  total, at incarnation {}", here.total, here.incarnation))?;
    }
    let Some(mut other) = other else { return Ok(Exit::Ok) };
    if let Some(only) = &options.table {
        other.tables.retain(|table| table.table == *only);
        here.tables.retain(|table| table.table == *only);
    }
    let differences = here.differences(&other);
    if differences.is_empty() {
        cx.output.tell("the same\n");
        return Ok(Exit::Ok);
    }
    Err(OpsError::Refused(differences))
}

fn read_checksum(output: &dyn Output, file: &Path) -> Result<Checksum, OpsError> {
    let bytes = output.read(file).map_err(|error| OpsError::Usage(format!("{}: {error}", file.display())))?;
    let wrong = |error| OpsError::Usage(format!("{} is not from 'checksum --json': {error}", file.display()));
    serde_json::from_slice(&bytes).map_err(wrong)
}

async fn held(engines: &mut dyn Engines, command: HoldsCommand, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let store = engines.store().await?;
    let redrives = matches!(command, HoldsCommand::Redrive { .. });
    let conversation = match command {
        HoldsCommand::List { json: as_json } => {
            let all = holds::list(&*store).await?;
            if as_json {
                return cx.json(&all).map(|()| Exit::Ok);
            }
            if all.is_empty() {
                cx.say("no conversation is held")?;
            }
            for held in &all {
                let (skipped, done) = (seq_text(held.skipped_to), seq_text(held.done_through));
                let (conversation, consumer, partition) = (held.conversation, held.consumer, held.partition);
                cx.say(format!(
                    "{conversation}  {consumer}  partition {partition}  done {done}  skipped to {skipped}"
                ))?;
            }
            return Ok(Exit::Ok);
        }
        HoldsCommand::Drop(options) => return drop_event(engines, options, cx).await,
        HoldsCommand::Dropped => {
            for (partition, dropped) in drops::list(&*store).await? {
                let Dropped { seq, conversation, by, why, time_ms } = dropped;
                cx.say(format!("{conversation}  partition {partition}  {seq}  by {by} at {time_ms} ms: {why}"))?;
            }
            return Ok(Exit::Ok);
        }
        HoldsCommand::Show { conversation } | HoldsCommand::Redrive { conversation } => conversation,
    };
    let log = engines.log().await?;
    let codec = engines.codec().await?;
    let shown = holds::show(&*store, &*log, &codec, conversation).await?;
    if shown.rows.is_empty() {
        cx.say(format!("{conversation} (partition {}) was never held", shown.partition))?;
    }
    for (row, is_held) in &shown.rows {
        let now = if *is_held { "held" } else { "was held, healed" };
        let (done, skipped) = (seq_text(row.done_through), seq_text(row.skipped_to));
        cx.say(format!("{}: {now}, done {done}, skipped to {skipped}", row.consumer))?;
    }
    for (consumer, words) in &shown.waits_at {
        cx.say(format!("{consumer} waits at {words}"))?;
    }
    if redrives && !shown.waits_at.is_empty() {
        return Err(OpsError::Refused(vec![format!("nothing was sent: {}", holds::REDRIVE_WORDS)]));
    }
    Ok(Exit::Ok)
}

async fn drop_event(engines: &mut dyn Engines, options: DropOptions, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let (store, log, codec) = (engines.store().await?, engines.log().await?, engines.codec().await?);
    let DropOptions { conversation, at, by, why, i_know_that_no_upgrade_will_ever_read_it: sure } = options;
    let dropped = Dropped { seq: drops::at(conversation, at)?, conversation, by, why, time_ms: cx.clock.now_ms() };
    let plan = drops::plan(&*store, &*log, &codec, dropped).await?;
    cx.say(format!("{conversation} waits at {at}: {}", plan.words))?;
    if !sure {
        cx.say("nothing was done: --i-know-that-no-upgrade-will-ever-read-it drops it, for ever")?;
        return Ok(Exit::Ok);
    }
    drops::perform(&*store, &*log, &codec, &plan).await?;
    cx.say("dropped, and copied to chat.quarantine; the consumers go on behind it within a minute")?;
    Ok(Exit::Ok)
}

fn seq_text(seq: Option<domain::Seq>) -> String {
    seq.map_or_else(|| "nothing".to_owned(), |seq| format!("{seq:?}"))
}

async fn group(engines: &mut dyn Engines, command: GroupsCommand, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let log = engines.log().await?;
    match command {
        GroupsCommand::List { json: true } => cx.json(&groups::list(&*log).await?)?,
        GroupsCommand::List { json: false } => {
            groups::list(&*log).await?.iter().try_for_each(|position| cx.say(position.to_string()))?;
        }
        GroupsCommand::Set { topic, partition, offset, yes } => {
            let at = TopicPartition::new(topic, partition);
            cx.say(groups::plan_set(&*log, &at, offset).await?)?;
            if !yes {
                return cx.dry_run().map(|()| Exit::Ok);
            }
            groups::set(&*log, &at, offset).await?;
            cx.say("done")?;
        }
    }
    Ok(Exit::Ok)
}

async fn doctor(engines: &mut dyn Engines, options: DoctorOptions, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let asked = engines.registry().is_some() || options.jwks.is_some() || !options.url.is_empty();
    if !asked && !engines.name_log() && !engines.name_store() {
        return Err(OpsError::Usage(
            "what is to be looked at? --data FOLDER, --kafka HOST:PORT with --cql HOST:PORT, or --url URL of services"
                .into(),
        ));
    }
    let services = !options.url.is_empty();
    let targets = Targets {
        log: opened(engines.log().await, engines.name_log(), services)?,
        store: opened(engines.store().await, engines.name_store(), services)?,
        registry: engines.registry().map(str::to_owned),
        services: options.url,
        jwks: options.jwks,
        clock: cx.clock.clone(),
    };
    let found = examine(&targets).await;
    if options.json {
        cx.json(&found)?;
    } else {
        found.0.iter().try_for_each(|finding| cx.say(finding.to_string()))?;
    }
    Ok(if found.worst() == Level::Fail { Exit::Differs } else { Exit::Ok })
}

/// An engine as the doctor examines it. A server that does not answer is a finding; an engine that is named wrongly, or
/// a data folder that cannot be opened, ends the doctor as it ends any other command.
fn opened<T>(engine: Result<T, OpsError>, named: bool, services: bool) -> Result<Opened<T>, OpsError> {
    match engine {
        Ok(engine) => Ok(Opened::Yes(engine)),
        Err(OpsError::Busy(reason)) if services => Ok(Opened::InUse(reason)),
        Err(error) if !named => Ok(Opened::NotNamed(error.to_string())),
        Err(error @ (OpsError::Busy(_) | OpsError::Absent(_) | OpsError::Usage(_))) => Err(error),
        Err(error) => Ok(Opened::No(error.to_string())),
    }
}

async fn show(engines: &mut dyn Engines, options: TailOptions, cx: &Context<'_>) -> Result<Exit, OpsError> {
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
    tail(&*log, &codec, &what, cx.stop, |line| cx.stream_line(&text_of(&line)?)).await?;
    Ok(Exit::Ok)
}
