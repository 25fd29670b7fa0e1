//! Building rows anew beside the served ones, switching, going back, dropping: `klatschctl replay storage
//! --into-new-incarnation` and `klatschctl incarnations`.

use ops::rebuild::{self, Compared, Pair};
use ops::replay::Range;
use ops::{Exit, OpsError};
use store::{Incarnations, Stage};

use crate::command::IncarnationsCommand;
use crate::context::Context;
use crate::engines::Engines;
use crate::progress::Progress;

pub(crate) async fn run(
    engines: &mut dyn Engines,
    command: IncarnationsCommand,
    cx: &Context<'_>,
) -> Result<Exit, OpsError> {
    let store = engines.store().await?;
    let there = store.incarnations().await?;
    match command {
        IncarnationsCommand::List { json: true } => cx.json(&there).map(|()| Exit::Ok),
        IncarnationsCommand::List { json: false } => list(&there, cx),
        IncarnationsCommand::Switch { number, yes } => {
            let served = there.find(number).ok_or_else(|| missing(&there, number))?.stage == Stage::Served;
            // Rows that were served before were compared then; newly built ones must be.
            turn(engines, number, !served, yes, cx).await
        }
        IncarnationsCommand::Back { yes } => {
            let none = || OpsError::Usage("there is no incarnation that was current before".to_owned());
            turn(engines, rebuild::before(&there).ok_or_else(none)?, false, yes, cx).await
        }
        IncarnationsCommand::Drop { number, yes } => {
            if number == there.current {
                return Err(OpsError::Usage(format!("incarnation {number} is the current one")));
            }
            there.find(number).ok_or_else(|| missing(&there, number))?;
            cx.say(format!(
                "incarnation {number} and all its rows go for good; the log and incarnation {} stay",
                there.current
            ))?;
            if !yes {
                return cx.dry_run().map(|()| Exit::Ok);
            }
            store.drop_incarnation(number).await?;
            cx.say("done; a data folder gives its room back when it is opened next").map(|()| Exit::Ok)
        }
    }
}

/// Builds every row anew beside the served ones, or goes on with a build; then compares, then switches.
pub(crate) async fn rebuild(engines: &mut dyn Engines, yes: bool, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let store = engines.store().await?;
    let there = store.incarnations().await?;
    if let Some(number) = rebuild::begun(&there) {
        cx.say(format!("going on with incarnation {number}, which was begun and never current"))?;
        return turn(engines, number, true, yes, cx).await;
    }
    cx.say(format!("every row is built anew beside incarnation {}, compared, and then served instead", there.current))?;
    if !yes {
        let log = engines.log().await?;
        let ranges = ops::replay::plan(&log, &store, ops::replay::Selection::FromStart).await?;
        cx.say(format!("{} records to apply", ranges.iter().map(Range::records).sum::<u64>()))?;
        return cx.dry_run().map(|()| Exit::Ok);
    }
    let number = store.make_incarnation().await?;
    turn(engines, number, true, true, cx).await
}

/// Brings an incarnation up, compares it if asked, and makes it current.
async fn turn(
    engines: &mut dyn Engines,
    number: u32,
    compared: bool,
    yes: bool,
    cx: &Context<'_>,
) -> Result<Exit, OpsError> {
    let (log, store, codec) = (engines.log().await?, engines.store().await?, engines.codec().await?);
    let pair = Pair::open(&*store, number).await?;
    let from = pair.served.incarnation();
    let behind: u64 = pair.behind(&log).await?.iter().map(Range::records).sum();
    cx.say(format!("incarnation {number} lacks {behind} records of what is applied to incarnation {from}"))?;
    if !yes {
        return cx.dry_run().map(|()| Exit::Ok);
    }
    let engines = rebuild::Engines { log, store, codec, entropy: cx.entropy.clone() };
    let mut progress = Progress::new(cx.output, format!("building incarnation {number}"));
    let stopped = || format!("nothing that is served has changed; the same command goes on with incarnation {number}");
    let applied = pair.bring_up(&engines, cx.stop, &mut |now| progress.tell(now.done, now.of)).await;
    let applied = applied.map_err(|error| error.leaving(stopped()))?;
    progress.end();
    cx.say(format!("{applied} records applied to incarnation {number}"))?;
    if compared {
        let mut progress = Progress::new(cx.output, "comparing");
        let found = rebuild::compare(&engines, &pair, cx.stop, |table, rows| progress.count(rows, table)).await;
        let found = found.map_err(|error| error.leaving(stopped()))?;
        progress.end();
        judge(&found, from, number, cx)?;
    }
    let holds = pair.holds().await?;
    if !holds.is_empty() {
        return Err(OpsError::Refused(holds.into_iter().chain([not_switched(number)]).collect()));
    }
    pair.switch(&engines, cx.stop).await.map_err(|error| error.leaving(stopped()))?;
    cx.say(format!("at incarnation {number}; programs turn to it by themselves, and no socket is closed"))?;
    cx.say(format!(
        "incarnation {from} stays as it is now, and nothing is applied to it any more: 'klatschctl incarnations back' \
         applies what it then lacks and switches, 'klatschctl incarnations drop {from}' gives it up"
    ))?;
    Ok(Exit::Ok)
}

fn judge(found: &Compared, from: u32, number: u32, cx: &Context<'_>) -> Result<(), OpsError> {
    let rows: u64 = found.rows.values().sum();
    if found.different > 0 {
        let more = found.different - found.examples.len() as u64;
        let more = (more > 0).then(|| format!("and {more} more"));
        let lines = found.examples.iter().cloned().chain(more).chain([not_switched(number)]);
        return Err(OpsError::Refused(lines.collect()));
    }
    cx.say(format!(
        "{rows} rows compared, cell by cell with their timestamps: incarnations {from} and {number} are the same"
    ))?;
    if found.changing > 0 {
        cx.say(format!(
            "{} of them changed at every look: what both had applied of them was the same, the rest is newer",
            found.changing
        ))?;
    }
    Ok(())
}

fn not_switched(number: u32) -> String {
    format!(
        "nothing was switched; incarnation {number} stays to be looked at ('klatschctl incarnations drop {number}' gives it up)"
    )
}

fn list(there: &Incarnations, cx: &Context<'_>) -> Result<Exit, OpsError> {
    let mut lines = vec![(there.current, "current")];
    lines.extend(there.beside.iter().map(|beside| match beside.stage {
        Stage::Building => (beside.number, "being built, never current"),
        Stage::Served => (beside.number, "current before; as storage left it"),
    }));
    lines.sort_unstable();
    lines.iter().try_for_each(|(number, what)| cx.say(format!("{number}  {what}")))?;
    Ok(Exit::Ok)
}

fn missing(there: &Incarnations, number: u32) -> OpsError {
    let others: Vec<String> = there.beside.iter().map(|beside| beside.number.to_string()).collect();
    let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
    OpsError::Usage(format!("there is no incarnation {number} beside the current {}: there is {others}", there.current))
}
