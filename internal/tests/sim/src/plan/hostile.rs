//! Hostile inputs of users and programs, and faults that take several steps to set up.

use testkit::foreign::{Foreign, Stream};
use workload::Random;

use super::generate::{at, index};
use super::{Kind, Step, Verb, What};
use crate::weather::Rates;

/// A random hostile input.
pub(super) fn hostile(random: &mut Random) -> What {
    let (device, room, http) = (index(random, 100), index(random, 100), random.chance(30));
    let verb = match random.below(20) {
        0..8 => return What::Foreign { room, what: Foreign::any(random) },
        8..11 => return What::Look { device, room, list: random.chance(60) },
        11..14 => Verb::StrangerTouch,
        14..16 => Verb::StrangerWithdraw,
        16 => Verb::StrangerMark,
        17..19 => Verb::AddNobody,
        _ => Verb::CreateNobody,
    };
    What::Say { device, room, verb, http }
}

/// A random fault of several steps.
pub(super) fn trouble(random: &mut Random, steps: &mut Vec<Step>) {
    // Rarely: held conversations are looked for only once a minute, so these worlds take long.
    if random.chance(2) {
        return held_until_dropped(random, steps);
    }
    match random.below(7) {
        0 => marks_while_producers_die(random, steps),
        1 => parked_beyond_memory(random, steps),
        2 => held_and_driven_again(random, steps, [3, 4]),
        3 => held_and_driven_again(random, steps, [5, 6]),
        4 => unreadable_rows(random, steps),
        5 => more_is_said_while_a_hold_is_written(random, steps),
        _ => removed_while_reading(random, steps),
    }
}

fn say(random: &mut Random, steps: &mut Vec<Step>, room: usize, verb: Verb, within_ms: u64) {
    let device = index(random, 100);
    steps.push(at(random, within_ms, What::Say { device, room, verb, http: false }));
}

/// The fan-out's producers fail repeatedly while users mark conversations as read.
fn marks_while_producers_die(random: &mut Random, steps: &mut Vec<Step>) {
    let rates = Rates { fatal: 300, log_ms: 150, ..Rates::default() };
    steps.push(at(random, 100, What::Faults { rates }));
    for _ in 0..3 {
        let room = index(random, 100);
        say(random, steps, room, Verb::Send, 500);
        say(random, steps, room, Verb::Mark, 2_000);
        say(random, steps, room, Verb::Mark, 2_000);
        let what = Foreign::Account;
        steps.push(at(random, 200, What::Foreign { room, what }));
    }
    steps.push(at(random, 3_000, What::Faults { rates: Rates::default() }));
}

/// Storage is slow and the fan-out restarts: many messages are sent in a conversation while it is parked.
fn parked_beyond_memory(random: &mut Random, steps: &mut Vec<Step>) {
    let room = index(random, 100);
    steps.push(at(random, 100, What::StoreSlow { kind: Kind::Storage, by_ms: 2_000, ms: 12_000 }));
    for process in [5, 6] {
        steps.push(at(random, 50, What::Kill { process }));
        steps.push(at(random, 50, What::Start { process, old: false }));
    }
    for _ in 0..6 + random.below(6) {
        say(random, steps, room, Verb::Send, 600);
    }
}

/// Consumers of an old version hold events that a newer chat service writes; then newer consumers judge them, and
/// die meanwhile.
fn held_and_driven_again(random: &mut Random, steps: &mut Vec<Step>, processes: [usize; 2]) {
    let room = index(random, 100);
    for old in [true, false] {
        for process in processes {
            steps.push(at(random, 200, What::Kill { process }));
            if old || random.chance(50) {
                steps.push(at(random, 100, What::Start { process, old }));
            }
        }
        if old {
            let kind = if processes[0] == 3 { Kind::Storage } else { Kind::Fanout };
            steps.push(at(random, 10_000, What::StoreSlow { kind, by_ms: 200, ms: 3_000 }));
            for _ in 0..2 + random.below(6) {
                say(random, steps, room, Verb::Send, 100);
            }
            steps.push(at(random, 6_000, What::Wait));
        } else {
            for process in processes {
                let points = 1 + random.below(60) as u32;
                steps.push(at(random, 5, What::Doom { process, points }));
            }
            steps.push(at(random, 15_000, What::Wait));
            for process in processes {
                steps.push(at(random, 50, What::Start { process, old: false }));
            }
        }
    }
}

/// An old fan-out holds a conversation that it has in memory, and writes the hold slowly; the next fan-out dies soon
/// after it has begun to re-drive it.
fn more_is_said_while_a_hold_is_written(random: &mut Random, steps: &mut Vec<Step>) {
    let (chat, fanout, room) = (0, 5, index(random, 100));
    let over_http = |random: &mut Random, steps: &mut Vec<Step>| {
        let device = index(random, 100);
        steps.push(at(random, 100, What::Say { device, room, verb: Verb::Send, http: true }));
    };
    let again = |random: &mut Random, steps: &mut Vec<Step>, process, old| {
        steps.push(at(random, 50, What::Kill { process }));
        steps.push(at(random, 50, What::Start { process, old }));
    };
    steps.push(at(random, 50, What::Kill { process: 6 }));
    again(random, steps, fanout, true);
    again(random, steps, chat, true);
    steps.push(at(random, 15_000, What::Wait));
    over_http(random, steps);
    again(random, steps, chat, false);
    steps.push(at(random, 3_000, What::StoreSlow { kind: Kind::Fanout, by_ms: 3_000, ms: 6_000 }));
    for _ in 0..2 + random.below(3) {
        over_http(random, steps);
    }
    steps.push(at(random, 15_000, What::Wait));
    again(random, steps, fanout, false);
    steps.push(at(random, 12_000, What::Kill { process: fanout }));
    steps.push(at(random, 500, What::Start { process: fanout, old: false }));
}

/// An event that no program can read holds its conversation until an operator drops it.
fn held_until_dropped(random: &mut Random, steps: &mut Vec<Step>) {
    let room = index(random, 100);
    for _ in 0..1 + random.below(2) {
        steps.push(at(random, 500, What::Foreign { room, what: Foreign::Unregistered(Stream::Messages) }));
        for _ in 0..1 + random.below(4) {
            say(random, steps, room, Verb::Send, 300);
        }
    }
    if random.chance(30) {
        let process = 3 + index(random, 4);
        steps.push(at(random, 50, What::Kill { process }));
        steps.push(at(random, 50, What::Start { process, old: false }));
    }
    // Not dropped as long as one of the consumers does not wait at it: so the operator tries twice.
    for _ in 0..2 {
        steps.push(at(random, 20_000, What::Drop));
    }
    say(random, steps, room, Verb::Send, 10_000);
}

/// A consumer with nothing in memory finds rows that it cannot read.
fn unreadable_rows(random: &mut Random, steps: &mut Vec<Step>) {
    let room = index(random, 100);
    let (kind, processes) = if random.chance(70) { (Kind::Storage, [3, 4]) } else { (Kind::Fanout, [5, 6]) };
    let ms = *random.pick(&[200, 2_000, 20_000]);
    for process in processes {
        steps.push(at(random, 50, What::Kill { process }));
    }
    steps.push(at(random, 500, What::Garble { room, kind, ms }));
    for _ in 0..2 + random.below(3) {
        say(random, steps, room, Verb::Send, 50);
    }
    for process in processes {
        steps.push(at(random, 50, What::Start { process, old: false }));
    }
    say(random, steps, room, Verb::Send, 8_000);
}

/// A user is removed, the last message changes, and the user reads the list of conversations.
fn removed_while_reading(random: &mut Random, steps: &mut Vec<Step>) {
    let room = index(random, 100);
    steps.push(at(random, 10, What::Faults { rates: Rates { store_split: 700, store_ms: 60, ..Rates::default() } }));
    for _ in 0..3 {
        say(random, steps, room, Verb::Send, 1_000);
        steps.push(at(random, 2_000, What::Wait));
        // While storage handles these, the events that follow collect in one batch.
        say(random, steps, room, Verb::Title, 30);
        say(random, steps, room, Verb::Title, 30);
        say(random, steps, room, Verb::Remove, 30);
        for _ in 0..3 {
            say(random, steps, room, Verb::Edit, 4);
            say(random, steps, room, Verb::React, 4);
        }
        for _ in 0..6 {
            let device = index(random, 100);
            steps.push(at(random, 30, What::Look { device, room, list: true }));
        }
        say(random, steps, room, Verb::Add, 500);
    }
    steps.push(at(random, 100, What::Faults { rates: Rates::default() }));
}
