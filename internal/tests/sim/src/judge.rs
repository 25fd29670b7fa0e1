//! The end of a run: faults stop, every process is started, and the outcome is compared with the log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use eventlog::SharedLog;
use events::Codec;
use events::topics::{GROUP_FANOUT, MESSAGES, STORAGE_SOURCES, spec_of};
use ops::groups;
use store::embedded::EmbeddedStore;
use store::{Consumer, HoldStore as _, SharedStore, Source};
use testkit::device::Device;
use testkit::foreign::{Foreign, Stream};
use testkit::load::World as People;
use testkit::oracle::{Logged, Truth, Verdict, check_deliveries, check_devices, check_history, check_store, settled};
use tokio::time::{Instant, sleep, timeout};

use crate::life::Shared;
use crate::plan::{Plan, What};
use crate::typing::{everybody_types, everybody_watches};
use crate::world::{Looks, Operator, Wall, World};

/// How long it may take after the last fault until all holds are healed, late effects have landed and zombies are
/// gone.
const HEALED_WITHIN: Duration = Duration::from_secs(240);
/// How long devices may take to reach the end of the log.
const REACHED_WITHIN: Duration = Duration::from_secs(90);
/// Longer than any request and its answer may take.
const SILENCE: Duration = Duration::from_secs(25);
/// How often a condition is checked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Retention of deliveries: only devices that were away for longer may be reset because of it.
const WEEK_MS: i64 = 7 * 86_400_000;

/// Waits until the world is at rest and compares everything. Fails when it does not come to rest, or something
/// differs.
pub(crate) async fn judge(world: &mut World, plan: &Plan) -> Result<Verdict> {
    world.shared.trace.note("calm");
    world.shared.weather.calm_down();
    for device in &world.people.devices {
        device.set_away(false);
    }
    world.services.recover();
    let World { people, services, shared, looks, .. } = world;
    let (log, store, codec) = (services.log.clone(), services.store.clone(), services.codec.clone());
    let ground = Ground { log, store, codec, wall: services.wall.clone() };
    let looking = async {
        loop {
            services.look_after().await;
            sleep(LOOK_EVERY).await;
        }
    };
    let verdict = tokio::select! {
        biased;
        verdict = compare(people, shared, looks, &ground) => verdict?,
        () = looking => bail!("nobody looks after the processes"),
    };
    verdict.demand_zero()?;
    resets_are_justified(world, plan)?;
    ensure!(world.services.faults.is_empty(), "{:?}", world.services.faults);
    let commits = world.shared.owners.faults();
    ensure!(commits.is_empty(), "{}", commits.join("; "));
    Ok(verdict)
}

/// The engines that the oracle reads, without faults.
struct Ground {
    log: SharedLog,
    store: Arc<EmbeddedStore>,
    codec: Codec,
    wall: Arc<Wall>,
}

async fn compare(people: &mut People, shared: &Shared, looks: &Looks, ground: &Ground) -> Result<Verdict> {
    let Ground { log, store, codec, wall } = ground;
    healed(shared, ground).await?;
    people.resolve().await?;
    silence(shared).await?;
    let mut logged = Logged::read_with_foreign(&**log, codec).await?;
    let truth = Truth::of(&logged);
    // A device that has not reached the end by then appears in the verdict.
    let all = |device: &Device| truth.reached(&device.memory());
    let reached = people.until("at the end of the log", REACHED_WITHIN, all).await;
    timeout(REACHED_WITHIN, settled(&people.devices[0].http)).await.context("storage does not settle")??;
    let mut verdict = check_history(&truth, people).await?;
    let typed = if reached.is_ok() { everybody_types(people, &truth, wall, shared).await } else { Ok(()) };
    let watched = if reached.is_ok() { everybody_watches(people, &truth, wall, shared).await } else { Ok(()) };
    people.stop().await;
    verdict.join(check_devices(&truth, &people.devices));
    logged.deliveries = shared.recorder.deliveries();
    verdict.join(check_deliveries(&truth, &logged));
    verdict.join(looks.check(&truth));
    let store: SharedStore = store.attach()?;
    verdict.join(check_store(log, codec, &store).await?);
    shared.trace.add("events accepted", truth.accepted as u64);
    shared.trace.add("read marks logged", logged.marks.len() as u64);
    shared.trace.add("account events logged", logged.accounts.len() as u64);
    shared.trace.add("records that cannot be read", logged.strange.len() as u64);
    if verdict.is_zero() {
        reached?;
        typed?;
        watched?;
    }
    Ok(verdict)
}

/// Waits until no more records are appended: copies of commands that are resolved may still be on their way.
async fn silence(shared: &Shared) -> Result<()> {
    let deadline = Instant::now() + HEALED_WITHIN;
    let mut before = shared.recorder.appended_so_far();
    loop {
        sleep(SILENCE).await;
        let now = shared.recorder.appended_so_far();
        if now == before {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "there is no end of records after {HEALED_WITHIN:?}");
        before = now;
    }
}

/// Waits until the consumers have reached the end of the log, no hold is left, and no late effect is pending. In
/// that order: a consumer that is behind may still have to write its hold. The operator drops the events that no
/// program can read, including those that the consumers have not reached yet, since their conversations are held
/// only then.
async fn healed(shared: &Shared, Ground { log, store, codec, .. }: &Ground) -> Result<()> {
    let operator = Operator { log: Arc::clone(log), codec: codec.clone() };
    let (unreadable, mut deadline) = (operator.unreadable().await?, Instant::now() + HEALED_WITHIN);
    loop {
        let beside: SharedStore = store.attach()?;
        let dropped = operator.drop(&beside, &unreadable).await;
        if dropped > 0 {
            shared.trace.add("events dropped by an operator", dropped);
            deadline = Instant::now() + HEALED_WITHIN;
        }
        let behind = behind(log, &beside).await?;
        let (held, all_dropped) = (held(store).await?, operator.has_dropped(&beside, &unreadable).await?);
        if behind.is_empty() && held.is_empty() && all_dropped && !shared.weather.something_late() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "after {HEALED_WITHIN:?}, held: {}; everything unreadable is dropped: {all_dropped}; behind: {}",
            held.join("; "),
            behind.join("; ")
        );
        sleep(LOOK_EVERY).await;
    }
}

/// The partitions whose end the consumers have not reached. Storage's commits are informational, so its rows are
/// looked at.
///
/// `ops::doctor` makes the same check. This copy is separate on purpose: a mistake in the code under test must not
/// make the judge end its wait too early.
async fn behind(log: &SharedLog, store: &SharedStore) -> Result<Vec<String>> {
    let positions = groups::list(&**log).await?.into_iter();
    let fanout = positions.filter(|at| at.group == GROUP_FANOUT && (at.lag() > 0 || at.waiting > 0));
    let mut behind: Vec<String> = fanout.map(|position| position.to_string()).collect();
    for topic in STORAGE_SOURCES {
        for partition in 0..spec_of(topic).partitions {
            let end = log.watermarks(topic, partition).await?.next;
            let applied = store.applied(Source { topic, partition }).await?.map(|applied| applied.seq.offset());
            if applied.map_or(0, |offset| offset + 1) < end {
                behind.push(format!("storage {topic}/{partition}: {applied:?} of {end}"));
            }
        }
    }
    Ok(behind)
}

/// Which conversations are held, and by which consumer.
async fn held(store: &EmbeddedStore) -> Result<Vec<String>> {
    let (store, mut held) = (store.attach()?, Vec::new());
    for partition in 0..spec_of(MESSAGES).partitions {
        for consumer in [Consumer::Storage, Consumer::Fanout] {
            let holds = store.holds(consumer, partition, None, 100).await?;
            held.extend(holds.iter().map(|(conversation, hold)| format!("{conversation} by {consumer:?}: {hold:?}")));
        }
    }
    Ok(held)
}

/// Every reset needs a reason: a first connection, deliveries that were trimmed, re-created or cannot be read, or a
/// range longer than the setup allows.
fn resets_are_justified(world: &World, plan: &Plan) -> Result<()> {
    let leapt = plan.steps.iter().any(|step| matches!(step.what, What::Leap { ms } if ms > WEEK_MS));
    let replaced = plan.steps.iter().any(|step| {
        let hides = |what| matches!(what, Foreign::UnknownDelivery | Foreign::Unregistered(Stream::Deliveries));
        matches!(step.what, What::Recreate { .. }) || matches!(step.what, What::Foreign { what, .. } if hides(what))
    });
    let small = plan.setup.range < 1000 || plan.setup.ring < 1000;
    for device in &world.people.devices {
        for reason in &device.memory().journal.resets {
            let justified = match reason.as_str() {
                "first" => true,
                "gone" => leapt || replaced,
                "too_far" | "lapped" => small,
                _ => false,
            };
            ensure!(justified, "{} was reset: {reason}", device.name);
        }
    }
    Ok(())
}
