//! The interleavings of `README.md` as scenarios: each test names the number that it covers. The table there also
//! lists those that are tested elsewhere.
//!
//! A scenario fixes the steps; the random faults of processes come from a few seeds.

#![allow(clippy::unwrap_used)]

mod consumers;
mod devices;
mod foreign;
mod words;

use sim::{Plan, Rates, Setup, Step, Totals, Verb, What, run};

/// The direct conversation of users 0 and 1.
pub(crate) const DIRECT: usize = 0;
/// A group of all three.
pub(crate) const GROUP: usize = 1;
/// Seeds of the random faults.
const LUCK: std::ops::Range<u64> = 1..5;

/// Steps, each so many milliseconds after the one before.
pub(crate) type Course = Vec<(u64, What)>;

/// Three users with two devices each.
pub(crate) fn setup() -> Setup {
    Setup {
        users: 3,
        devices: 2,
        rooms: vec![vec![0, 1], vec![0, 1, 2]],
        host_skews_ms: [0; 7],
        device_skews_ms: vec![0; 6],
        ring: 4096,
        warm: 0,
        range: 20_000,
        queued: 2_000,
        slice: 300,
        pipe: 65_536,
        rates: Rates { log_ms: 10, store_ms: 10, ..Rates::default() },
        several: true,
        old: [false; 7],
    }
}

/// Runs the steps with several seeds, all of which must pass. Returns the totals of all runs.
pub(crate) fn lives(setup: &Setup, course: &Course) -> Totals {
    let mut totals = Totals::new();
    for seed in LUCK {
        let step = |(number, (wait_ms, what)): (usize, &(u64, What))| Step {
            yields: 0,
            wait_ms: *wait_ms,
            salt: seed << 32 | number as u64,
            what: *what,
        };
        let plan = Plan { seed, setup: setup.clone(), steps: course.iter().enumerate().map(step).collect() };
        let outcome = run(&plan, false);
        assert_eq!(outcome.wrong, None, "luck {seed}");
        for (what, times) in outcome.totals {
            *totals.entry(what).or_default() += times;
        }
    }
    totals
}

/// The first device of that user sends a command.
pub(crate) fn say(user: usize, room: usize, verb: Verb) -> What {
    What::Say { device: user * 2, room, verb, http: false }
}

/// Checks that a thing of that kind happened.
pub(crate) fn happened(totals: &Totals, what: &str) {
    assert!(totals.get(what).is_some_and(|times| *times > 0), "never: {what}; {totals:?}");
}
