//! The consumers while the store is away, hangs or lags, while many conversations are held, and while judging one
//! panics: the others go on, and afterwards everything is delivered in order.

#![allow(clippy::unwrap_used)]

mod faulty;
mod slow;
mod unknown;
mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::{ConversationId, RULES_NEWEST, RULES_TRIAL, Seq};
use fanout::PARKED_MAX;
use store::Consumer;

use faulty::State;
use world::{NOW_MS, World};

/// Rules that no program knows.
const RULES_UNKNOWN: u32 = RULES_TRIAL + 1;
const SOON: Duration = Duration::from_millis(600);
const LATER: Duration = Duration::from_secs(30);
/// Beyond the next pass over the holds: a new owner may try them before storage has healed its own.
const NEXT_LOOK: Duration = Duration::from_secs(90);

fn lives(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(test);
}

async fn a_warm_conversation_goes_on(state: State) {
    let mut world = World::new().await;
    let [(warm, create_warm), (cold, create_cold), (held, create_held)] = world.groups(3).try_into().unwrap();
    world.start("storage", RULES_NEWEST);
    world.start("fanout", RULES_NEWEST);
    let mut in_cold = vec![world.append(&create_cold).await, world.say(cold).await];
    let mut in_held = vec![world.append(&create_held).await, world.append(&world.message(held, RULES_TRIAL)).await];
    world.holds(Consumer::Fanout, 1, LATER).await;
    world.stop("fanout").await;
    world.start("fanout", RULES_NEWEST);
    let mut in_warm = vec![world.append(&create_warm).await];
    world.delivers(warm, &in_warm, LATER).await;

    world.fate.set(state);
    in_cold.push(world.say(cold).await);
    in_held.push(world.say(held).await);
    // Beyond the next pass over the holds.
    for _ in 0..8 {
        in_warm.push(world.say(warm).await);
        world.delivers(warm, &in_warm, SOON).await;
        in_cold.push(world.say(cold).await);
        tokio::time::sleep(Duration::from_secs(10)).await; // virtual time: the outage goes on
    }
    world.delivers(cold, &in_cold[..2], SOON).await;

    world.fate.set(State::Well);
    world.delivers(cold, &in_cold, LATER).await;
    world.commits(LATER).await;
    world.delivers(held, &in_held[..1], SOON).await;
    for service in ["storage", "fanout"] {
        world.stop(service).await;
        world.start(service, RULES_TRIAL);
    }
    world.delivers(held, &in_held, NEXT_LOOK).await;
    world.delivers(warm, &in_warm, SOON).await;
}

#[test]
fn a_store_that_is_away_delays_no_warm_conversation() {
    lives(a_warm_conversation_goes_on(State::Away));
}

#[test]
fn a_store_that_hangs_delays_no_warm_conversation() {
    lives(a_warm_conversation_goes_on(State::Hangs));
}

/// The metrics show what waits, and why, while nothing moves; and nothing once it is done.
#[test]
fn what_waits_is_shown_with_its_age_and_its_reason() {
    lives(async {
        let mut world = World::new().await;
        let [(warm, create_warm), (cold, create_cold), (held, create_held)] = world.groups(3).try_into().unwrap();
        world.start("storage", RULES_NEWEST);
        world.start("fanout", RULES_NEWEST);
        let mut in_cold = vec![world.append(&create_cold).await];
        world.append(&create_held).await;
        world.append(&world.message(held, RULES_TRIAL)).await;
        world.holds(Consumer::Fanout, 1, LATER).await;
        world.stop("fanout").await;
        world.start("fanout", RULES_NEWEST);
        let in_warm = vec![world.append(&create_warm).await];
        world.delivers(warm, &in_warm, LATER).await;
        let undelivered = |reason: &str, seconds: &str| {
            format!("klatsch_fanout_oldest_undelivered_seconds{{partition=\"0\",reason=\"{reason}\"}} {seconds}")
        };
        let lag = |seconds: &str| format!("klatsch_storage_lag_seconds{{partition=\"0\"}} {seconds}");
        world.metrics_ms.store(NOW_MS + 30_000, Ordering::SeqCst);
        world.shows("fanout", &undelivered("held", "30.0"), LATER).await;
        for reason in ["flowing", "parked"] {
            world.shows("fanout", &undelivered(reason, "0.0"), LATER).await;
        }
        world.shows("storage", &lag("0.0"), LATER).await;

        world.fate.set(State::Away);
        in_cold.push(world.say(cold).await);
        world.shows("fanout", &undelivered("parked", "30.0"), LATER).await;
        world.shows("storage", &lag("30.0"), LATER).await;
        // Nothing happens, and they grow.
        world.metrics_ms.store(NOW_MS + 95_500, Ordering::SeqCst);
        world.shows("fanout", &undelivered("parked", "95.5"), Duration::ZERO).await;
        world.shows("storage", &lag("95.5"), Duration::ZERO).await;
        world.shows("fanout", &undelivered("flowing", "0.0"), Duration::ZERO).await;

        world.fate.set(State::Well);
        world.delivers(cold, &in_cold, LATER).await;
        world.shows("fanout", &undelivered("parked", "0.0"), LATER).await;
        world.shows("storage", &lag("0.0"), LATER).await;
        for service in ["storage", "fanout"] {
            world.stop(service).await;
            world.start(service, RULES_TRIAL);
        }
        world.shows("fanout", &undelivered("held", "0.0"), NEXT_LOOK).await;
        world.shows("fanout", "klatsch_fanout_held 0", LATER).await;
    });
}

/// As above, of the topics whose records are applied and relayed without being judged.
#[test]
fn a_read_mark_that_waits_is_shown_with_its_age() {
    lives(async {
        let mut world = World::new().await;
        let (group, create) = world.groups(1).remove(0);
        world.start("storage", RULES_NEWEST);
        world.start("fanout", RULES_NEWEST);
        let seq = world.append(&create).await;
        world.delivers(group, &[seq], LATER).await;
        let stored = |seconds: &str| format!("klatsch_storage_marks_lag_seconds{{topic=\"chat.receipts\"}} {seconds}");
        let relayed =
            |topic: &str, seconds: &str| format!("klatsch_fanout_relay_lag_seconds{{topic=\"{topic}\"}} {seconds}");
        world.metrics_ms.store(NOW_MS + 30_000, Ordering::SeqCst);
        world.shows("storage", &stored("0.0"), LATER).await;
        world.shows("fanout", &relayed("chat.receipts", "0.0"), LATER).await;

        world.fate.set(State::Away);
        world.acknowledges.send_replace(false);
        world.read(group, seq).await;
        world.shows("storage", &stored("30.0"), LATER).await;
        world.shows("fanout", &relayed("chat.receipts", "30.0"), LATER).await;
        // Nothing happens, and they grow.
        world.metrics_ms.store(NOW_MS + 95_500, Ordering::SeqCst);
        world.shows("storage", &stored("95.5"), Duration::ZERO).await;
        world.shows("fanout", &relayed("chat.receipts", "95.5"), Duration::ZERO).await;
        world.shows("fanout", &relayed("users.events", "0.0"), Duration::ZERO).await;

        world.fate.set(State::Well);
        world.acknowledges.send_replace(true);
        world.shows("storage", &stored("0.0"), LATER).await;
        world.shows("fanout", &relayed("chat.receipts", "0.0"), LATER).await;
    });
}

/// A conversation becomes held while nothing can be written: the others go on, commits come later.
#[test]
fn a_hold_that_cannot_be_written_delays_nobody() {
    lives(async {
        let mut world = World::new().await;
        let [(warm, create_warm), (held, create_held)] = world.groups(2).try_into().unwrap();
        world.start("storage", RULES_NEWEST);
        world.start("fanout", RULES_NEWEST);
        let mut in_warm = vec![world.append(&create_warm).await];
        let mut in_held = vec![world.append(&create_held).await];
        world.delivers(held, &in_held, LATER).await;
        world.delivers(warm, &in_warm, LATER).await;
        world.fate.set(State::Hangs);
        in_held.extend([world.append(&world.message(held, RULES_TRIAL)).await, world.say(held).await]);
        for _ in 0..5 {
            in_warm.push(world.say(warm).await);
            world.delivers(warm, &in_warm, SOON).await;
        }
        world.fate.set(State::Well);
        world.holds(Consumer::Fanout, 1, LATER).await;
        world.commits(LATER).await;
        for service in ["storage", "fanout"] {
            world.stop(service).await;
            world.start(service, RULES_TRIAL);
        }
        world.delivers(held, &in_held, LATER).await;
    });
}

/// While as many conversations are parked as may be, nothing is requested anew for those that wait.
#[test]
fn a_full_fanout_does_not_ask_the_store_again_and_again() {
    lives(async {
        let mut world = World::new().await;
        let groups = world.groups(PARKED_MAX + 50);
        for (_, create) in &groups {
            world.append(create).await;
        }
        world.start("fanout", RULES_NEWEST); // and no storage: the facts of all but the first are not there
        tokio::time::sleep(Duration::from_secs(60)).await; // virtual time: a hundred turns of its loop
        let reads = world.fate.hold_reads.load(Ordering::SeqCst);
        assert!(reads <= 2 * PARKED_MAX as u64, "{reads} holds read");
        world.start("storage", RULES_NEWEST);
        world.commits(LATER).await;
        assert_eq!(world.delivered().await.len(), groups.len());
    });
}

/// Holds that cannot be healed do not block those behind them.
#[test]
fn every_hold_is_driven_again_however_many_there_are() {
    lives(async {
        let mut world = World::new().await;
        let mut groups = world.groups(PARKED_MAX + 20);
        let (last, create_last) = groups.pop().unwrap();
        world.start("storage", RULES_NEWEST);
        world.start("fanout", RULES_NEWEST);
        for (hopeless, create) in &groups {
            world.append(create).await;
            world.append(&world.message(*hopeless, RULES_UNKNOWN)).await;
        }
        let in_last = [world.append(&create_last).await, world.append(&world.message(last, RULES_TRIAL)).await];
        world.holds(Consumer::Fanout, PARKED_MAX + 20, LATER).await;
        for service in ["storage", "fanout"] {
            world.stop(service).await;
            world.start(service, RULES_TRIAL);
        }
        world.delivers(last, &in_last, Duration::from_secs(200)).await;
        world.holds(Consumer::Fanout, PARKED_MAX + 19, LATER).await;
    });
}

/// Judging one conversation panics: it is held, the others go on, and a program without the bug heals it.
#[test]
fn a_panic_while_judging_holds_that_conversation_alone() {
    lives(async {
        let mut world = World::new().await;
        let [(cursed, create_cursed), (other, create_other)] = world.groups(2).try_into().unwrap();
        world.start("storage", RULES_NEWEST);
        let mut in_cursed = vec![world.append(&create_cursed).await];
        let mut in_other = vec![world.append(&create_other).await];
        world.start("fanout", RULES_NEWEST);
        world.delivers(other, &in_other, LATER).await;
        for service in ["fanout", "storage"] {
            // The consumer that is restarted meets the bug, the other one has the conversation in memory.
            world.stop(service).await;
            world.fate.cursed.lock().unwrap().insert(cursed);
            world.start(service, RULES_NEWEST);
            in_cursed.extend([world.say(cursed).await, world.say(cursed).await]);
            in_other.push(world.say(other).await);
            world.delivers(other, &in_other, LATER).await;
            let consumer = if service == "storage" { Consumer::Storage } else { Consumer::Fanout };
            world.holds(consumer, 1, LATER).await;
            world.fate.cursed.lock().unwrap().clear();
            world.delivers(cursed, &in_cursed, Duration::from_secs(200)).await;
            world.holds(consumer, 0, Duration::from_secs(200)).await;
        }
    });
}

/// A hold of many events is driven again in slices, by storage and by the fan-out, while the others go on.
#[test]
fn a_long_hold_is_driven_again_in_slices() {
    lives(async {
        let mut world = World::new().await;
        let [(held, create_held), (other, create_other)] = world.groups(2).try_into().unwrap();
        world.start("storage", RULES_NEWEST);
        world.start("fanout", RULES_NEWEST);
        let mut in_held = vec![world.append(&create_held).await, world.append(&world.message(held, RULES_TRIAL)).await];
        let mut in_other = vec![world.append(&create_other).await];
        for _ in 0..1_500 {
            in_held.push(world.say(held).await);
        }
        world.commits(LATER).await;
        for service in ["storage", "fanout"] {
            world.stop(service).await;
            world.start(service, RULES_TRIAL);
        }
        in_other.push(world.say(other).await);
        world.delivers(other, &in_other, LATER).await;
        world.holds(Consumer::Storage, 0, LATER).await;
        let steps = world.fate.steps.lock().unwrap().clone();
        let far = steps.iter().filter(|done| **done > in_held[1]).count();
        assert!(far >= 3, "storage says how far it has come: {steps:?}");
        world.delivers(held, &in_held, Duration::from_secs(200)).await;
        world.holds(Consumer::Fanout, 0, LATER).await;
    });
}

/// A conversation with a long hold and another one, behind an upgrade of both consumers. Reading the log is slow from
/// here on; storage has healed its hold already.
async fn a_long_hold(world: &mut World) -> [(ConversationId, Vec<Seq>); 2] {
    let [(held, create_held), (other, create_other)] = world.groups(2).try_into().unwrap();
    for service in ["storage", "fanout"] {
        world.start(service, RULES_NEWEST);
    }
    let mut in_held = vec![world.append(&create_held).await, world.append(&world.message(held, RULES_TRIAL)).await];
    let in_other = vec![world.append(&create_other).await];
    for _ in 0..3_000 {
        in_held.push(world.say(held).await);
    }
    world.delivers(other, &in_other, LATER).await;
    world.commits(LATER).await;
    for service in ["fanout", "storage"] {
        world.stop(service).await;
    }
    world.start("storage", RULES_TRIAL);
    world.holds(Consumer::Storage, 0, LATER).await;
    world.read_ms.store(50, Ordering::SeqCst);
    [(held, in_held), (other, in_other)]
}

/// A conversation that has to catch up does not wait for a hold that is being driven again.
#[test]
fn a_long_hold_delays_nobody_who_catches_up() {
    lives(async {
        let mut world = World::new().await;
        let [(held, in_held), (other, mut in_other)] = a_long_hold(&mut world).await;
        for _ in 0..600 {
            in_other.push(world.say(other).await);
        }
        world.start("fanout", RULES_TRIAL);
        world.delivers(other, &in_other, LATER).await;
        assert_eq!(world.held(Consumer::Fanout).await.len(), 1, "it came first");
        world.delivers(held, &in_held, LATER).await;
    });
}

/// A re-drive that is interrupted goes on about where it was interrupted.
#[test]
fn a_long_hold_is_not_driven_again_from_its_beginning() {
    lives(async {
        let mut world = World::new().await;
        let [(held, in_held), _] = a_long_hold(&mut world).await;
        for far in [1_200, 2_000] {
            world.start("fanout", RULES_TRIAL);
            let comes = async {
                while world.delivered().await.get(&held).map_or(0, Vec::len) < far {
                    tokio::time::sleep(Duration::from_millis(100)).await; // virtual time
                }
            };
            tokio::time::timeout(LATER, comes).await.unwrap();
            world.stop("fanout").await;
        }
        world.start("fanout", RULES_TRIAL);
        world.delivers(held, &in_held, LATER).await;
        world.holds(Consumer::Fanout, 0, LATER).await;
        let emitted = world.emitted().await.remove(&held).unwrap();
        let again = emitted.len() - in_held.len();
        assert!(again <= 1_000, "{again} came again");
    });
}

/// A newer program has written a row, or it is damaged: its conversation is held, the others go on, and a program that
/// can read it heals the hold.
#[test]
fn a_row_that_cannot_be_read_holds_that_conversation_alone() {
    lives(async {
        let mut world = World::new().await;
        let [(garbled, create_garbled), (other, create_other)] = world.groups(2).try_into().unwrap();
        world.start("storage", RULES_NEWEST);
        let mut in_garbled = vec![world.append(&create_garbled).await];
        let mut in_other = vec![world.append(&create_other).await];
        world.start("fanout", RULES_NEWEST);
        world.delivers(other, &in_other, LATER).await;
        for (service, consumer) in [("fanout", Consumer::Fanout), ("storage", Consumer::Storage)] {
            world.commits(LATER).await;
            world.stop(service).await;
            world.fate.garbled.lock().unwrap().insert(garbled);
            world.start(service, RULES_NEWEST);
            in_garbled.extend([world.say(garbled).await, world.say(garbled).await]);
            in_other.push(world.say(other).await);
            world.delivers(other, &in_other, LATER).await;
            world.holds(consumer, 1, LATER).await;
            // Beyond the next pass over the holds: the row still cannot be read.
            tokio::time::sleep(Duration::from_secs(100)).await; // virtual time
            in_garbled.push(world.say(garbled).await);
            world.fate.garbled.lock().unwrap().clear();
            world.delivers(garbled, &in_garbled, Duration::from_secs(200)).await;
            world.holds(consumer, 0, Duration::from_secs(200)).await;
        }
    });
}
