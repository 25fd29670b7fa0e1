//! Scenarios for bugs that no other test had caught (issue 10, section 3). Without its bug, each scenario passes;
//! with it (`cargo test -p sim --features seeded-bugs --test survivors`), it must fail.
//!
//! All of it is one test, because a bug is switched on for the whole process.

#![allow(clippy::unwrap_used)]

use environment::seeded_bugs::Bug;
use sim::{Foreign, Kind, Plan, Rates, Setup, Step, Verb, What, run};

/// A group of all three users.
const GROUP: usize = 1;
const STORAGE: [usize; 2] = [3, 4];
const FANOUT: [usize; 2] = [5, 6];

/// Steps, each so many milliseconds after the one before.
type Course = Vec<(u64, What)>;

/// Three users with two devices each.
fn setup() -> Setup {
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

fn say(user: usize, verb: Verb) -> What {
    What::Say { device: user * 2, room: GROUP, verb, http: false }
}

fn plan(setup: &Setup, course: &Course, seed: u64) -> Plan {
    let step = |(number, (wait_ms, what)): (usize, &(u64, What))| Step {
        yields: 0,
        wait_ms: *wait_ms,
        salt: seed << 32 | number as u64,
        what: *what,
    };
    Plan { seed, setup: setup.clone(), steps: course.iter().enumerate().map(step).collect() }
}

/// The scenarios for a bug, and for how many seeds of random faults each is run.
fn courses(bug: Bug) -> (Vec<(Setup, Course)>, u64) {
    match bug {
        Bug::RelayCommitsEarly => (vec![marks_while_producers_die()], 6),
        Bug::OverflowCountsAsComplete => (vec![parked_beyond_memory()], 3),
        Bug::RedriveDoneTooFar => (vec![driven_again_in_small_parts()], 2),
        Bug::MalformedHeldTooLate => (vec![rows_that_cannot_be_read()], 3),
        Bug::ReaderGoesOnBlindly => (vec![created_anew()], 4),
        Bug::ListBeyondMembership => (vec![left_while_reading()], 8),
        Bug::SignalMovesCursor => (vec![typing_while_one_is_removed()], 2),
        Bug::SignalToWhoWasRemoved => (vec![typing_while_one_is_removed()], 2),
        Bug::SignalOnDurablePath => (vec![typing_while_one_is_removed()], 2),
        _ => (Vec::new(), 0),
    }
}

/// All users type in a group from which one of them is removed.
fn typing_while_one_is_removed() -> (Setup, Course) {
    let mut course = vec![(500, say(0, Verb::Send))];
    for _ in 0..4 {
        course.extend((0..3).map(|user| (400, say(user, Verb::Type))));
        course.push((3_000, say(0, Verb::Send)));
    }
    course.push((100, say(2, Verb::Leave)));
    course.extend((0..4).map(|number| (3_500, say(number % 2, Verb::Type))));
    (setup(), course)
}

/// The fan-out's producers fail while its positions are committed.
fn marks_while_producers_die() -> (Setup, Course) {
    let rates = Rates { fatal: 500, log_ms: 1_000, ..Rates::default() };
    let mut course = vec![(500, say(0, Verb::Send)), (500, What::Faults { rates })];
    for round in 0..6 {
        course.push((300, say(round % 3, Verb::Send)));
        course.extend([(3_000, say(1, Verb::Mark)), (300, say(2, Verb::Mark)), (300, say(0, Verb::Mark))]);
        course.push((200, What::Foreign { room: GROUP, what: Foreign::Account }));
    }
    (setup(), course)
}

/// Storage is slow, and the restarted fan-out parks more events than it keeps in memory.
fn parked_beyond_memory() -> (Setup, Course) {
    let slow = What::StoreSlow { kind: Kind::Storage, by_ms: 4_000, ms: 20_000 };
    let mut course = vec![(500, say(0, Verb::Send)), (500, slow)];
    course.extend(FANOUT.map(|process| (10, What::Stop { process })));
    course.extend((0..6).map(|number| (20, say(number % 3, Verb::Send))));
    course.extend(FANOUT.map(|process| (300, What::Start { process, old: false })));
    course.extend((0..8).map(|number| (150, say(number % 3, Verb::Send))));
    (Setup { queued: 2, ..setup() }, course)
}

/// A held conversation is re-driven event by event, and its owner dies meanwhile.
fn driven_again_in_small_parts() -> (Setup, Course) {
    let mut course = vec![(500, say(0, Verb::Send))];
    for process in STORAGE {
        course.extend([(300, What::Stop { process }), (50, What::Start { process, old: true })]);
    }
    course.extend((0..7).map(|number| (100, say(number % 3, Verb::Send))));
    for process in STORAGE {
        course.extend([(1_500, What::Stop { process }), (50, What::Start { process, old: false })]);
    }
    course.extend(STORAGE.map(|process| (20, What::Doom { process, points: 30 })));
    course.extend(STORAGE.map(|process| (8_000, What::Start { process, old: false })));
    (Setup { slice: 1, ..setup() }, course)
}

/// Storage restarts where it has rows that it cannot read.
fn rows_that_cannot_be_read() -> (Setup, Course) {
    let mut course = vec![(500, say(0, Verb::Send)), (300, say(1, Verb::Send))];
    course.extend(STORAGE.map(|process| (500, What::Stop { process })));
    course.push((300, What::Garble { room: GROUP, kind: Kind::Storage, ms: 15_000 }));
    course.extend((0..3).map(|number| (50, say(number % 3, Verb::Send))));
    course.extend(STORAGE.map(|process| (300, What::Start { process, old: false })));
    course.extend([(5_000, say(1, Verb::Send)), (15_000, say(2, Verb::Send))]);
    (setup(), course)
}

/// An old fan-out holds a conversation that it has in memory: more events come while it writes the hold, and none
/// afterwards. The next fan-out is killed `after_ms` after its start, while it re-drives the conversation and before
/// it has committed that it does.
fn held_and_killed(after_ms: u64) -> (Setup, Course) {
    let (chat, process) = (0, FANOUT[0]);
    let slow = What::StoreSlow { kind: Kind::Fanout, by_ms: 3_000, ms: 6_000 };
    let over_http = |user: usize| What::Say { device: user * 2, room: GROUP, verb: Verb::Send, http: true };
    let mut course = vec![(500, over_http(0)), (1_500, What::Stop { process: chat })];
    course.extend([(300, What::Start { process: chat, old: false }), (500, slow)]);
    course.extend([(10, over_http(0)), (100, over_http(1)), (100, over_http(2))]);
    let rates = Rates { log_ms: 60, ..setup().rates };
    course.extend([(9_000, What::Stop { process }), (1_500, What::Faults { rates })]);
    course.extend([(0, What::Start { process, old: false }), (after_ms, What::Kill { process })]);
    course.extend([(200, What::Start { process, old: false }), (20_000, What::Wait)]);
    let old = [true, true, true, false, false, true, true];
    (Setup { several: false, old, ..setup() }, course)
}

/// `chat.deliveries` is re-created, and grows beyond its former end before its readers look again.
fn created_anew() -> (Setup, Course) {
    let mut course: Course = (0..6).map(|number| (300, say(number % 3, Verb::Send))).collect();
    course.extend([1, 2].map(|process| (500, What::Pause { process, ms: 1_500 })));
    course.push((100, What::Recreate { fewer: 2 }));
    let over_http = |user: usize| What::Say { device: user * 2, room: GROUP, verb: Verb::Send, http: true };
    course.extend((0..4).map(|number| (150, over_http(number % 3))));
    course.extend((0..4).map(|number| (1_000, over_http(number % 3))));
    (setup(), course)
}

/// A user leaves and the last message changes in one batch, while the user reads the list of conversations: storage
/// is busy with another event meanwhile, so both events collect in one batch.
fn left_while_reading() -> (Setup, Course) {
    let rates = Rates { store_split: 1_000, store_ms: 4, log_ms: 4, ..Rates::default() };
    let mut course = vec![(500, say(0, Verb::Send)), (0, What::Faults { rates })];
    for round in 0..6 {
        let leaves = 1 + round % 2;
        course.extend([(1_000, say(0, Verb::Send)), (2_000, say(0, Verb::Title)), (20, say(0, Verb::Title))]);
        course.push((10, say(leaves, Verb::Leave)));
        course.extend((0..9).map(|_| (4, say(0, Verb::Edit))));
        course.extend((0..40).map(|look| {
            let device = leaves * 2 + look % 2;
            (9, What::Look { device, room: GROUP, list: true })
        }));
        course.extend((0..4).map(|_| (200, say(0, Verb::Add))));
    }
    (setup(), course)
}

/// No bug in the list is caught by it: the row of a re-driven conversation says that it is held until it is healed.
#[test]
fn what_comes_while_a_hold_is_written_is_delivered_whoever_dies() {
    for number in 4..8 {
        let (setup, course) = held_and_killed(number * 70);
        for seed in 1..3 {
            assert_eq!(run(&plan(&setup, &course, seed), false).wrong, None, "killed after {} ms", number * 70);
        }
    }
}

#[test]
fn what_had_survived_every_test_is_caught() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let (courses, luck) = courses(bug);
        let plans: Vec<Plan> =
            courses.iter().flat_map(|(setup, course)| (1..=luck).map(|seed| plan(setup, course, seed))).collect();
        for (number, plan) in plans.iter().enumerate() {
            assert_eq!(run(plan, false).wrong, None, "course {number} of {bug:?}, which is not switched on");
        }
        if cfg!(feature = "seeded-bugs") && !plans.is_empty() {
            #[cfg(feature = "seeded-bugs")]
            environment::seeded_bugs::switch(Some(bug));
            let caught = plans.iter().enumerate().find_map(|(number, plan)| Some((number, run(plan, false).wrong?)));
            #[cfg(feature = "seeded-bugs")]
            environment::seeded_bugs::switch(None);
            println!("{bug:?}: {caught:?}");
            missed.extend(caught.is_none().then_some(bug));
        }
    }
    if cfg!(feature = "seeded-bugs") {
        assert_eq!(missed, [], "nothing catches these");
    }
}
