//! Generates a plan from a seed.

use workload::Random;

use super::hostile::{hostile, trouble};
use super::{Kind, PROCESSES, Plan, Repeat, Setup, Step, Verb, What};
use crate::weather::Rates;

/// An hour and a day, in milliseconds.
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The plan of that seed.
#[must_use]
pub fn plan_of(seed: u64) -> Plan {
    let mut random = Random::new(seed ^ 0x51b);
    // One plan in eight has no faults: a failure there is not caused by any.
    let disturbed = random.below(8) > 0;
    let setup = setup(&mut random, disturbed);
    let count = 40 + index(&mut random, 50);
    let mut steps = Vec::new();
    while steps.len() < count {
        if disturbed && random.chance(2) {
            slow_while_leaving(&mut random, &mut steps);
        } else if disturbed && random.chance(3) {
            trouble(&mut random, &mut steps);
        } else {
            steps.push(step(&mut random, disturbed));
        }
    }
    Plan { seed, setup, steps }
}

fn setup(random: &mut Random, disturbed: bool) -> Setup {
    let users = 3 + index(random, 3);
    let rooms = (0..2 + index(random, 3)).map(|number| room(random, users, number == 0)).collect();
    let small = disturbed && random.chance(25);
    let mut host_skews_ms = [0; 7];
    if disturbed && random.chance(50) {
        host_skews_ms.iter_mut().for_each(|skew| *skew = random.below(40_000) as i64 - 20_000);
    }
    let skews = [0, 0, 0, -900, -100_000, -170_000, -190_000, 30_000, 59_000, -HOUR_MS, -21 * DAY_MS];
    let device_skews_ms = (0..users * 2).map(|_| if disturbed { *random.pick(&skews) } else { 0 }).collect();
    Setup {
        users,
        devices: 1 + index(random, 2),
        rooms,
        host_skews_ms,
        device_skews_ms,
        ring: if small { *random.pick(&[2, 8, 16]) } else { 4096 },
        warm: *random.pick(&[0, 3, 4096]),
        range: if small { *random.pick(&[4, 20]) } else { 20_000 },
        queued: if small { 1 + index(random, 4) } else { fanout::QUEUED_MAX },
        slice: if small { 1 + index(random, 3) } else { storage::SLICE_EVENTS_MAX },
        pipe: *random.pick(&[16_384, 65_536]),
        rates: if disturbed { rates(random) } else { Rates::default() },
        several: random.chance(60),
        old: if disturbed { old(random) } else { [false; 7] },
    }
}

/// Which processes are old: all (before an upgrade), some (in the middle of one) or none (after it).
fn old(random: &mut Random) -> [bool; 7] {
    match random.below(4) {
        0 => [true; 7],
        1 => std::array::from_fn(|_| random.chance(50)),
        _ => [false; 7],
    }
}

fn room(random: &mut Random, users: usize, direct: bool) -> Vec<usize> {
    let mut members = vec![index(random, users)];
    let wanted = if direct { 2 } else { 2 + index(random, users - 1) };
    while members.len() < wanted {
        let user = index(random, users);
        if !members.contains(&user) {
            members.push(user);
        }
    }
    // Two members would make a direct conversation: a small group has a third entry, which names the second member
    // twice.
    if !direct && members.len() == 2 {
        members.push(members[1]);
    }
    members
}

/// Mostly a few faults of every kind; sometimes many of some kinds.
fn rates(random: &mut Random) -> Rates {
    let mut rate = |usual: u64| match random.below(10) {
        0..4 => 0,
        4..9 => random.below(usual + 1),
        _ => random.below(usual * 5 + 1),
    };
    Rates {
        log_error: rate(20),
        unknown: rate(60),
        late: rate(40),
        fatal: rate(15),
        busy: rate(20),
        store_error: rate(30),
        store_done: rate(30),
        store_late: rate(20),
        store_split: rate(100),
        commit_error: rate(60),
        answer_lost: rate(60),
        log_ms: rate(30),
        store_ms: rate(40),
    }
}

fn step(random: &mut Random, disturbed: bool) -> Step {
    let what = match random.below(100) {
        _ if !disturbed => saying(random),
        0..64 => saying(random),
        64..70 => hostile(random),
        _ => disturbance(random),
    };
    let waits = [0, 0, 0, 1, 5, 20, 100, 500, 2_000, 8_000];
    let yields = if random.chance(40) { random.below(12) as u8 } else { 0 };
    Step { yields, wait_ms: *random.pick(&waits), salt: random.bits(), what }
}

/// A device reads nothing while many messages are sent, and its node is asked to stop: no queued frame may be lost.
fn slow_while_leaving(random: &mut Random, steps: &mut Vec<Step>) {
    let (device, room) = (index(random, 100), index(random, 100));
    let ms = 1_000 + random.below(4_000);
    steps.push(at(random, 20, What::Stall { device, ms }));
    for _ in 0..4 + random.below(4) {
        let device = index(random, 100);
        steps.push(at(random, 20, What::Say { device, room, verb: Verb::Long, http: false }));
    }
    for process in [1, 2] {
        steps.push(at(random, 300, What::Stop { process }));
    }
    for process in [1, 2] {
        steps.push(at(random, 2_000, What::Start { process, old: false }));
    }
}

/// A step, at most so many milliseconds after the one before.
pub(super) fn at(random: &mut Random, within_ms: u64, what: What) -> Step {
    Step { yields: 0, wait_ms: random.below(within_ms), salt: random.bits(), what }
}

fn saying(random: &mut Random) -> What {
    let (device, room, http) = (index(random, 100), index(random, 100), random.chance(20));
    if random.chance(20) {
        let how = match random.below(10) {
            0 => Repeat::Other,
            1 => Repeat::Withdraw,
            _ => Repeat::Same,
        };
        return What::Repeat { device, how, http };
    }
    let verb = match random.below(50) {
        0..8 => Verb::Send,
        8..11 => Verb::Mention,
        11 => Verb::Long,
        12..14 => Verb::Mark,
        14..16 => Verb::Reply,
        16..20 => Verb::Edit,
        20..22 => Verb::Delete,
        22..25 => Verb::React,
        25 => Verb::Unreact,
        26..29 => Verb::Mark,
        29..32 => Verb::Add,
        32..34 => Verb::Remove,
        34 => Verb::Leave,
        35 => Verb::Role,
        36..38 => Verb::Title,
        40..44 => Verb::Type,
        44..47 => Verb::Thread,
        47..49 => Verb::Pin,
        49.. => Verb::Unpin,
        _ => Verb::Create,
    };
    What::Say { device, room, verb, http }
}

fn disturbance(random: &mut Random) -> What {
    let (device, process) = (index(random, 100), index(random, PROCESSES.len()));
    let consumer = 3 + index(random, 4);
    match random.below(100) {
        0..8 => What::Cut { device, after: index(random, 400) },
        8..12 => What::Vanish { device },
        12..16 => What::Stall { device, ms: 1 << random.below(15) },
        16..19 => What::Away { device, away: true },
        19..24 => What::Away { device, away: false },
        24..26 => What::Save { device },
        26..29 => What::GoBack { device },
        29..35 => What::Kill { process },
        35..42 => What::Doom { process, points: 1 + random.below(40) as u32 },
        42..48 => What::Stop { process },
        48..66 => What::Start { process, old: random.chance(20) },
        66..70 => What::Pause { process, ms: 1 << random.below(16) },
        70..75 => What::Deafen { process: consumer, ms: *random.pick(&[500, 9_000, 11_000, 30_000, 70_000]) },
        75..79 => What::Ghost { storage: random.chance(50), ms: *random.pick(&[10, 1_000, 12_000]) },
        79..82 => What::BrokerDown { ms: *random.pick(&[100, 3_000, 11_000, 40_000]) },
        82..85 => What::StoreDown { ms: *random.pick(&[100, 3_000, 30_000]) },
        85..90 => {
            let kind = *random.pick(&[Kind::Storage, Kind::Fanout, Kind::Chat]);
            What::StoreSlow { kind, by_ms: *random.pick(&[300, 2_000, 6_000]), ms: 20_000 }
        }
        90..93 => What::Faults { rates: rates(random) },
        93..96 => What::BrokerClock { ms: *random.pick(&[-400_000, -30_000, -1_000, 0, 20_000]) },
        96..98 => What::Leap { ms: *random.pick(&[2 * 60_000, HOUR_MS, 31 * DAY_MS]) },
        98 if random.chance(50) => What::Empty,
        98 => What::Recreate { fewer: index(random, 5) as u64 },
        _ => What::Leaderless { device, ms: [2_000, 8_000, 40_000][process % 3] },
    }
}

pub(super) fn index(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or(0)
}
