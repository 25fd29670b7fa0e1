//! What people and programs do that nobody asked them to; and troubles that need several steps to show.

use workload::Random;

use super::generate::{at, index};
use super::{Foreign, Kind, Step, Stream, Verb, What};
use crate::weather::Rates;

/// Whether other producers write records without headers that are in no wire format.
const HEADERLESS: bool = false;

/// A hostile input.
pub(super) fn hostile(random: &mut Random) -> What {
    let (device, room, http) = (index(random, 100), index(random, 100), random.chance(30));
    let verb = match random.below(20) {
        0..8 => return What::Foreign { room, what: foreign(random) },
        8..11 => return What::Look { device, room, list: random.chance(60) },
        11..14 => Verb::StrangerTouch,
        14..16 => Verb::StrangerWithdraw,
        16 => Verb::StrangerMark,
        17..19 => Verb::AddNobody,
        _ => Verb::CreateNobody,
    };
    What::Say { device, room, verb, http }
}

fn foreign(random: &mut Random) -> Foreign {
    let stream = *random.pick(&Stream::ALL);
    match random.below(12) {
        0..3 => Foreign::Corrupt(stream),
        3..5 if HEADERLESS => Foreign::Headerless(stream),
        3..6 => Foreign::WrongKey(stream),
        6..8 => Foreign::Extreme(stream),
        8..10 => Foreign::Account,
        10 => Foreign::Push,
        _ => Foreign::UnknownDelivery,
    }
}

/// One of the troubles.
pub(super) fn trouble(random: &mut Random, steps: &mut Vec<Step>) {
    match random.below(6) {
        0 => marks_while_producers_die(random, steps),
        1 => parked_beyond_memory(random, steps),
        2 => held_and_driven_again(random, steps, [3, 4]),
        3 => held_and_driven_again(random, steps, [5, 6]),
        4 => unreadable_rows(random, steps),
        _ => removed_while_reading(random, steps),
    }
}

fn say(random: &mut Random, steps: &mut Vec<Step>, room: usize, verb: Verb, within_ms: u64) {
    let device = index(random, 100);
    steps.push(at(random, within_ms, What::Say { device, room, verb, http: false }));
}

/// The fan-out's producers fail again and again while people read.
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

/// Storage is slow, and the fan-out starts anew: much is said in one conversation while it is parked.
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

/// Consumers of before an upgrade hold what the newer chat service writes; then newer ones judge it, and die on the way.
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

/// A consumer meets rows that it cannot read where it has nothing in memory.
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

/// Somebody is removed, the last message changes, and they look at their list.
fn removed_while_reading(random: &mut Random, steps: &mut Vec<Step>) {
    let room = index(random, 100);
    steps.push(at(random, 10, What::Faults { rates: Rates { store_split: 700, store_ms: 60, ..Rates::default() } }));
    for _ in 0..3 {
        say(random, steps, room, Verb::Send, 1_000);
        steps.push(at(random, 2_000, What::Wait));
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
