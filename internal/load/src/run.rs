//! A whole run: accounts, conversations, devices, the stages of the scenario, and everything that is compared at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{CloseCode, Endpoints, ErrorCode};
use environment::Entropy;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::bounds::Measured;
use crate::crew::{Crew, Target, loud_lists};
use crate::exit::SetupError;
use crate::figures::Times;
use crate::journal::{Journal, Loss};
use crate::limit::Search;
use crate::options::{LoadOptions, Scenario, seconds};
use crate::oracle::{Evidence, Sent, Verdict, judge};
use crate::pace::{Act, Stage};
use crate::plan::Plan;
use crate::report::{Report, groups, stage_figures};
use crate::usage::Usage;
use crate::world::World;
use crate::{conversations, history, lateness};

/// Messages a second that find-limit lets a device send: half of what the server lets a socket.
const DEVICE_RATE: f64 = 15.0;
/// How often it is looked whether everything is settled.
const SETTLED_EVERY: Duration = Duration::from_millis(50);

/// Plays a scenario.
///
/// # Errors
/// When it could not be set up. What the product did wrong is no error: the report has it.
pub async fn run(scenario: Scenario, options: LoadOptions) -> Result<Report, SetupError> {
    let plan = Plan::new(scenario, options)?;
    let endpoints = endpoints(&plan)?;
    let entropy = Entropy::system();
    eprintln!("signing in {} users", plan.users);
    let mut accounts = Accounts::sign_in(&plan.options.world.accounts, &endpoints, plan.users, &entropy).await?;
    let (lists, kinds, loud) = lists(&plan);
    eprintln!("preparing {} conversations", lists.len());
    let conversations = conversations::prepare(&mut accounts, lists, &entropy).await?;
    let world = Arc::new(World::new(conversations, plan.options.seed));
    eprintln!("connecting {} devices", plan.roles.len());
    let crew = Crew::connect(&plan, &accounts, &world, &kinds, loud).await?;
    let played = Play::all(&plan, &world, &crew).await?;

    eprintln!("draining");
    let devices = crew.devices();
    let deadline = Instant::now() + seconds(plan.options.drain);
    settle(&world, deadline).await;
    let heads = world.ledger.heads(world.conversations.len());
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let journals = crew.finish(heads.clone(), left).await;
    eprintln!("reading the history of {} conversations", heads.len());
    let histories = history::read(&world, &accounts, &heads).await?;
    accounts.save()?;
    let sent = world.ledger.all();
    let verdict = judge(&Evidence { sent: &sent, journals: &journals, devices: &devices, histories: &histories });
    Ok(report(&plan, &world, &played, &sent, &journals, verdict))
}

/// The addresses of the server, all of them checked.
fn endpoints(plan: &Plan) -> Result<Endpoints, SetupError> {
    let world = &plan.options.world;
    let wrong = |error: client::ClientError| SetupError::Usage(error.to_string());
    for node in &world.sockets {
        Endpoints::new(node, None, None).map_err(wrong)?;
    }
    Endpoints::new(&world.url, world.users_url.as_deref(), None).map_err(wrong)
}

fn report(
    plan: &Plan,
    world: &World,
    played: &Played,
    sent: &[Sent],
    journals: &[Journal],
    verdict: Verdict,
) -> Report {
    let stages = stage_figures(&played.names, sent, journals, &groups(plan, journals));
    let connects_per_second = world.connects_per_second();
    let measured = Measured { plan, stages: &stages, sent, journals, acts: &played.acts, connects_per_second };
    let (bounds, search) = (measured.bounds(), played.search.as_ref());
    let mut report = Report {
        scenario: plan.scenario.name(),
        devices: plan.roles.len(),
        users: plan.users,
        rate: plan.rate,
        seconds: played.lasted.as_secs_f64(),
        stages,
        steps: search.map(|search| search.steps.clone()).unwrap_or_default(),
        limit: search.and_then(|search| search.limit),
        verdict,
        bounds,
        tool_late: played.late.figures(),
        tool_dropped: world.dropped.load(Ordering::Relaxed),
        tool_p99_most_ms: tool_bound(plan, search),
        tool_usage: played.usage,
        back: back(journals),
        losses: losses(journals),
        resets: sum(journals.iter().map(|journal| &journal.resets)),
        put_off: put_off(journals),
        nodes: nodes(journals),
        connects_per_second,
        limits_hit: limits_hit(journals),
        exit: 0,
    };
    report.exit = report.outcome() as u8;
    report
}

/// The users of every conversation; how many there are of each size, and how many of them are loud.
fn lists(plan: &Plan) -> (Vec<Vec<usize>>, Vec<usize>, usize) {
    let (mut lists, mut kinds) = (Vec::<Vec<usize>>::new(), Vec::new());
    for size in &plan.sizes {
        let mut of_size = conversations::cut(plan.users, &[*size]);
        // Few users make the same list for two sizes: that is one conversation.
        of_size.retain(|list| !lists.contains(list));
        // Of fan-in there is one conversation, whatever the number of users.
        let of_size = if plan.scenario == Scenario::FanIn { of_size.into_iter().take(1).collect() } else { of_size };
        kinds.push(of_size.len());
        lists.extend(of_size);
    }
    let mut loud = if plan.scenario == Scenario::Slow { loud_lists(plan) } else { Vec::new() };
    let sorted = |list: &[usize]| list.iter().copied().collect::<BTreeSet<usize>>();
    loud.retain(|list| !lists.iter().any(|other| sorted(other) == sorted(list)));
    let count = loud.len();
    lists.extend(loud);
    (lists, kinds, count)
}

/// What was played.
#[derive(Default)]
struct Played {
    /// The names of the stages.
    names: Vec<&'static str>,
    /// When something happened, in microseconds since the run began.
    acts: Vec<(Act, u64)>,
    /// How late the tool was, without warming up.
    late: Times,
    /// Of find-limit.
    search: Option<Search>,
    /// How long it took, without warming up.
    lasted: Duration,
    /// What the tool used meanwhile.
    usage: Usage,
}

/// A scenario that is being played.
struct Play<'a> {
    plan: &'a Plan,
    world: &'a Arc<World>,
    crew: &'a Crew,
    played: Played,
}

impl<'a> Play<'a> {
    /// Plays all stages.
    async fn all(plan: &'a Plan, world: &'a Arc<World>, crew: &'a Crew) -> Result<Played, SetupError> {
        let mut play = Self { plan, world, crew, played: Played::default() };
        let ended = CancellationToken::new();
        tokio::spawn(lateness::watch(Arc::clone(world), ended.clone()));
        let _end = ended.drop_guard();
        play.play(&plan.warm_up()).await?;
        // Only now: in the first seconds, devices are asked to move to the node of their partition.
        world.begun.store(true, Ordering::Relaxed);
        world.take_live();
        let (begun, before) = (Instant::now(), Usage::now());
        for stage in &plan.stages {
            play.play(stage).await?;
            play.played.late.join(&world.take_live().late);
        }
        if plan.scenario == Scenario::FindLimit {
            play.played.search = Some(play.search().await?);
        }
        play.played.lasted = begun.elapsed();
        let now = Usage::now();
        play.played.usage = Usage { cpu_s: now.cpu_s - before.cpu_s, ..now };
        Ok(play.played)
    }

    #[allow(clippy::cast_precision_loss)] // far fewer than 2^52
    async fn search(&mut self) -> Result<Search, SetupError> {
        let (options, devices) = (&self.plan.options, self.plan.roles.len() as f64);
        let mut search = Search::new(self.plan.rate, devices * DEVICE_RATE, seconds(options.seconds));
        while let Some(next) = search.next() {
            self.play(&Stage::new(next.name, next.rate, next.lasting)).await?;
            let live = self.world.take_live();
            let (_, open) = self.world.ledger.open();
            search.measured(&live, open, &options.bounds);
            if search.steps.last().is_some_and(|step| step.kept) {
                self.played.late.join(&live.late);
            } else if let Some(missed) = search.steps.last() {
                eprintln!("missed at {:.0}/s", missed.rate);
                // The next rate begins with nothing left over of this one.
                settle(self.world, Instant::now() + seconds(options.drain)).await;
                self.world.take_live();
            }
        }
        Ok(search)
    }

    async fn play(&mut self, stage: &Stage) -> Result<(), SetupError> {
        eprintln!("{} for {:.0} s at {:.0} messages/s", stage.name, stage.lasting.as_secs_f64(), stage.rate);
        let number = u16::try_from(self.played.names.len()).unwrap_or(u16::MAX);
        self.played.names.push(stage.name);
        let begun = Instant::now();
        if stage.act != Act::Nothing {
            self.played.acts.push((stage.act, self.world.ledger.now_us()));
        }
        let act = self.crew.act(stage.act, self.plan.options.command.as_deref());
        let loud_rate = if self.plan.scenario == Scenario::Slow { self.plan.options.loud_rate } else { 0.0 };
        let loud = Stage { rate: loud_rate, ..stage.clone() };
        let streams = async {
            tokio::join!(
                self.stream(stage, Target::Mix, number, begun),
                self.stream(&loud, Target::Loud, number, begun)
            )
        };
        let (act, _) = tokio::join!(act, streams);
        sleep_until(begun + stage.lasting).await;
        act
    }

    /// Gives each send to its device when it is due, whatever has become of the others.
    async fn stream(&self, stage: &Stage, target: Target, number: u16, begun: Instant) {
        for send in 0..stage.sends() {
            let due = begun + stage.due(send);
            if due > Instant::now() {
                sleep_until(due).await;
            }
            self.crew.send(target, number, due);
            if send % 64 == 63 {
                // After a pause of the process, many are due at once: devices must be run in between.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Waits until the fate of every send is known.
async fn settle(world: &World, deadline: Instant) {
    while world.ledger.open().1 > 0 && Instant::now() < deadline {
        sleep(SETTLED_EVERY).await;
    }
}

/// How late the tool may be. A search that found the tool's own limit has found nothing.
fn tool_bound(plan: &Plan, search: Option<&Search>) -> f64 {
    let bounds = &plan.options.bounds;
    if search.is_some_and(|search| search.tool_was_the_limit(bounds)) {
        return 0.0;
    }
    if bounds.tool_p99_ms > 0.0 { bounds.tool_p99_ms } else { f64::MAX }
}

fn back(journals: &[Journal]) -> crate::figures::Figures {
    let mut times = Times::default();
    for loss in journals.iter().flat_map(|journal| &journal.losses) {
        if let Some(back) = loss.back_us {
            times.record(back.saturating_sub(loss.at_us));
        }
    }
    times.figures()
}

fn losses(journals: &[Journal]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for loss in journals.iter().flat_map(|journal| &journal.losses) {
        let code = loss.code.map_or("no close code".to_owned(), |code| code.to_string());
        *counts.entry(format!("{code}, {}", loss.reason)).or_default() += 1;
    }
    counts
}

fn put_off(journals: &[Journal]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (code, count) in journals.iter().flat_map(|journal| &journal.put_off) {
        *counts.entry(format!("{code:?}")).or_default() += count;
    }
    counts
}

fn nodes(journals: &[Journal]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for journal in journals.iter().filter(|journal| !journal.node.is_empty()) {
        *counts.entry(journal.node.clone()).or_default() += 1;
    }
    counts
}

fn sum<'a>(maps: impl Iterator<Item = &'a BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (what, count) in maps.flatten() {
        *counts.entry(what.clone()).or_default() += count;
    }
    counts
}

/// The limits of the server that the load has met, each in a sentence.
fn limits_hit(journals: &[Journal]) -> Vec<String> {
    let mut words = Vec::new();
    let limited: u64 = journals.iter().filter_map(|journal| journal.put_off.get(&ErrorCode::RateLimited)).sum();
    if limited > 0 {
        words.push(format!(
            "the server's limits put off {limited} sends (rate_limited): a socket may send 30 messages a second, a user \
             60, and a user may cause 1 MiB a second to be written; take more devices, or a lower rate"
        ));
    }
    // Admission closes with that code, too: it makes devices come later, and limits no load.
    let full =
        |loss: &&Loss| loss.code == Some(CloseCode::TooMany.number()) && loss.reason == CloseCode::TooMany.reason();
    let too_many = journals.iter().flat_map(|journal| &journal.losses).filter(full).count();
    if too_many > 0 {
        words.push(format!(
            "the server closed {too_many} connections because there were too many (4005): a node keeps 20 of a user and \
             50,000 in all; is another run using these accounts?"
        ));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(code: CloseCode, reason: &str) -> Vec<Journal> {
        let mut journal = Journal::default();
        journal.lost(5, Some(code.number()), reason.to_owned());
        vec![journal]
    }

    #[test]
    fn a_server_that_is_full_limits_the_load_and_one_that_lets_devices_wait_does_not() {
        let full = limits_hit(&lost(CloseCode::TooMany, CloseCode::TooMany.reason()));
        assert!(matches!(&full[..], [words] if words.contains("4005")), "{full:?}");
        assert!(limits_hit(&lost(CloseCode::TooMany, CloseCode::CROWDED)).is_empty());
        assert!(limits_hit(&lost(CloseCode::Slow, CloseCode::Slow.reason())).is_empty());
    }
}
