//! Storage and the fan-out with different delays, with older versions of themselves, and with faults of the broker.

use sim::{Kind, Rates, Repeat, Verb, What};

use crate::{DIRECT, GROUP, happened, lives, say, setup};

const STORAGE: [usize; 2] = [3, 4];
const FANOUT: [usize; 2] = [5, 6];

/// 1: storage is slow, so the restarted fan-out parks conversations that are cold, while others go on.
#[test]
fn a_parked_conversation_is_told_after_its_neighbours_and_nothing_is_dropped() {
    let slow = What::StoreSlow { kind: Kind::Storage, by_ms: 4_000, ms: 15_000 };
    let mut course = vec![(500, say(0, DIRECT, Verb::Send)), (500, say(1, GROUP, Verb::Send)), (10, slow)];
    course.extend(FANOUT.map(|process| (10, What::Kill { process })));
    course.extend([(50, say(0, DIRECT, Verb::Send)), (5, say(2, GROUP, Verb::Send))]);
    course.extend(FANOUT.map(|process| (10, What::Start { process, old: false })));
    course.extend([(5, say(1, DIRECT, Verb::Send)), (5, say(0, GROUP, Verb::Send)), (900, say(1, GROUP, Verb::Reply))]);
    happened(&lives(&setup(), &course), "crashes");
}

/// 2: a member was removed while the fan-out was down and storage went on: the fan-out decides as of each event.
#[test]
fn a_cold_fanout_behind_storage_tells_who_was_a_member_then() {
    let mut course = vec![(500, say(0, GROUP, Verb::Send))];
    course.extend(FANOUT.map(|process| (10, What::Kill { process })));
    course.extend([
        (20, say(2, GROUP, Verb::Send)),
        (500, say(0, GROUP, Verb::Remove)),
        (500, say(2, GROUP, Verb::Leave)),
    ]);
    course.extend([(500, say(0, GROUP, Verb::Send))]);
    course.extend(FANOUT.map(|process| (2_000, What::Start { process, old: false })));
    course.extend([(50, say(0, GROUP, Verb::Send))]);
    happened(&lives(&setup(), &course), "crashes");
}

/// 2, the other way: storage lags behind a warm fan-out.
#[test]
fn a_warm_fanout_ahead_of_storage_tells_who_is_a_member_now() {
    let slow = What::StoreSlow { kind: Kind::Storage, by_ms: 6_000, ms: 20_000 };
    let course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (10, slow),
        (10, say(2, GROUP, Verb::Leave)),
        (10, say(0, GROUP, Verb::Send)),
        (10, say(0, GROUP, Verb::Add)),
        (10, say(2, GROUP, Verb::Send)),
        (10, say(1, GROUP, Verb::Send)),
    ];
    lives(&setup(), &course);
}

/// 7: the broker is down for longer than any timeout, and the producer fails for good in the middle of a batch.
#[test]
fn a_broker_that_is_away_and_a_producer_that_dies_skip_and_reorder_nothing() {
    let rates = Rates { fatal: 300, log_ms: 20, store_ms: 5, ..Rates::default() };
    let mut course = vec![(500, say(0, GROUP, Verb::Send)), (5, What::BrokerDown { ms: 40_000 })];
    course.extend((0..8).map(|number| (200, say(number % 3, GROUP, Verb::Send))));
    course.push((30_000, What::Faults { rates }));
    course.extend((0..8).map(|number| (2_000, say(number % 3, GROUP, Verb::Send))));
    let totals = lives(&setup(), &course);
    happened(&totals, "broker outages");
    happened(&totals, "producers failed for good");
}

/// 8: programs are upgraded one by one while events are written under both versions of the rules. These differ in
/// who may add members, and so in who receives all later events.
#[test]
fn two_versions_of_the_rules_side_by_side_come_to_one_membership() {
    let setup = sim::Setup { old: [true; 7], rooms: vec![vec![0, 1], vec![0, 1, 1]], ..setup() };
    let mut course = vec![(500, say(0, GROUP, Verb::Send)), (100, say(1, GROUP, Verb::Add))];
    for process in [0, FANOUT[0], 1, STORAGE[0], 2, FANOUT[1], STORAGE[1]] {
        course.extend([(300, What::Stop { process }), (50, What::Start { process, old: false })]);
        course.extend([(300, say(1, GROUP, Verb::Add)), (20, say(1, GROUP, Verb::Send))]);
        course.extend([(20, say(0, GROUP, Verb::Remove)), (20, say(0, GROUP, Verb::Send))]);
    }
    happened(&lives(&setup, &course), "stops");
}

/// 8, 17 and 18: programs that do not know the newest rules take over for a while, hold conversations, and are
/// replaced; then nothing more is sent in one of the conversations.
#[test]
fn old_programs_hold_what_they_cannot_judge_and_new_ones_tell_it_in_order() {
    let mut course = vec![(500, say(0, DIRECT, Verb::Send)), (300, say(1, GROUP, Verb::Send))];
    for process in [STORAGE, FANOUT].concat() {
        course.extend([(20, What::Kill { process }), (10, What::Start { process, old: process % 2 == 0 })]);
    }
    course.extend((0..6).map(|number| (400, say(number % 3, GROUP, Verb::Send))));
    course.push((12_000, say(0, DIRECT, Verb::Send)));
    for process in [STORAGE, FANOUT].concat() {
        course.extend([(700, What::Stop { process }), (300, What::Start { process, old: false })]);
    }
    course.extend((0..4).map(|number| (100, say(number % 3, GROUP, Verb::Edit))));
    happened(&lives(&setup(), &course), "stops");
}

/// 12: a hold, a crash, the next owner, which holds the conversation as well; then two upgrades, one after the
/// other.
#[test]
fn a_hold_survives_its_owner_and_is_driven_again_twice() {
    let mut course = vec![(500, say(0, GROUP, Verb::Send))];
    for round in 0..2 {
        for process in [STORAGE, FANOUT].concat() {
            course.extend([(10, What::Kill { process }), (20, What::Start { process, old: true })]);
        }
        course.extend([(12_000, say(round, GROUP, Verb::Send)), (50, say(2, GROUP, Verb::Reply))]);
        for process in [STORAGE, FANOUT].concat() {
            course.extend([(3_000, What::Kill { process }), (20, What::Start { process, old: false })]);
        }
        course.push((100, say(1, GROUP, Verb::Send)));
    }
    happened(&lives(&setup(), &course), "crashes");
}

/// 18: the fan-out dies at any point around a hold: before its row is written, between the row and the commit, and
/// after both.
#[test]
fn a_crash_at_any_point_of_a_hold_skips_nothing() {
    let setup = sim::Setup { several: false, ..setup() };
    for points in 1..16 {
        let process = FANOUT[0];
        let course = vec![
            (500, say(0, GROUP, Verb::Send)),
            (300, What::Stop { process }),
            (300, What::Start { process, old: true }),
            (500, What::Doom { process, points }),
            (5, say(1, GROUP, Verb::Send)),
            (200, say(0, GROUP, Verb::Send)),
            (2_000, What::Kill { process }),
            (10, What::Start { process, old: false }),
            (3_000, say(0, GROUP, Verb::Send)),
        ];
        happened(&lives(&setup, &course), "crashes");
    }
}

/// The store is down for a while, when one conversation is cold, one is warm, and one of them is held by old
/// programs.
#[test]
fn a_store_that_is_away_delays_what_is_cold_or_held_and_loses_nothing() {
    let mut course = vec![(500, say(0, DIRECT, Verb::Send)), (300, say(1, GROUP, Verb::Send))];
    course.extend(FANOUT.map(|process| (10, What::Kill { process })));
    course.extend(FANOUT.map(|process| (10, What::Start { process, old: process == FANOUT[0] })));
    course.extend([(5_000, say(1, GROUP, Verb::Send)), (1_000, What::StoreDown { ms: 90_000 })]);
    course.extend([(500, say(0, DIRECT, Verb::Send)), (500, say(1, DIRECT, Verb::Edit))]);
    course.extend((0..8).map(|number| (10_000, say(number % 3, GROUP, Verb::Send))));
    course.push((500, say(1, DIRECT, Verb::Reply)));
    course.extend(FANOUT.map(|process| (20_000, What::Stop { process })));
    course.extend(FANOUT.map(|process| (10, What::Start { process, old: false })));
    happened(&lives(&setup(), &course), "store calls during an outage");
}

/// 16: the store is emptied while the fan-out is warm and a storage process is paused; then that process resumes.
#[test]
fn a_store_emptied_under_a_paused_writer_is_rebuilt_whole() {
    let course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (10, say(1, GROUP, Verb::Send)),
        (2, What::Pause { process: STORAGE[0], ms: 8_000 }),
        (2, What::Pause { process: STORAGE[1], ms: 3_000 }),
        (10, say(2, GROUP, Verb::Send)),
        (50, What::Empty),
        (20, say(0, GROUP, Verb::Edit)),
        (5_000, say(1, DIRECT, Verb::Send)),
        (9_000, say(1, GROUP, Verb::Delete)),
    ];
    happened(&lives(&setup(), &course), "stores emptied");
}

/// 9: a deleted message stays deleted when the log is replayed into an emptied store.
#[test]
fn a_deleted_message_stays_deleted_in_a_rebuilt_store() {
    let course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (300, say(1, DIRECT, Verb::Send)),
        (300, say(0, GROUP, Verb::Delete)),
        (300, What::Empty),
        (12_000, say(1, GROUP, Verb::React)),
        (10, What::Repeat { device: 0, how: Repeat::Same, http: true }),
    ];
    lives(&setup(), &course);
}

/// A storage consumer does not learn that its partitions have another owner, and goes on writing.
#[test]
fn a_zombie_writes_nothing_that_counts() {
    let mut course = vec![(500, say(0, GROUP, Verb::Send)), (10, What::Kill { process: STORAGE[1] })];
    course.extend([(12_000, What::Deafen { process: STORAGE[0], ms: 60_000 })]);
    course.extend([(5, What::Start { process: STORAGE[1], old: false })]);
    course.extend([
        (5, What::Deafen { process: FANOUT[0], ms: 60_000 }),
        (5, What::Ghost { storage: false, ms: 15_000 }),
    ]);
    course.extend((0..10).map(|number| (2_500, say(number % 3, GROUP, Verb::Send))));
    happened(&lives(&setup(), &course), "partitions lost");
}

/// 18: storage dies between any two of its calls, with rows, read marks and progress still to be written.
#[test]
fn a_crash_between_any_two_calls_of_storage_loses_nothing() {
    let mut course = vec![(500, say(0, GROUP, Verb::Send))];
    for points in 1..14 {
        course.extend(STORAGE.map(|process| (0, What::Doom { process, points: points * 2 })));
        course.extend([
            (0, say(0, GROUP, Verb::Send)),
            (100, What::Say { device: 2, room: GROUP, verb: Verb::Mark, http: false }),
            (0, What::Say { device: 4, room: GROUP, verb: Verb::Mark, http: false }),
            (3_000, say(1, GROUP, Verb::React)),
        ]);
        course.extend(STORAGE.map(|process| (100, What::Start { process, old: false })));
    }
    happened(&lives(&setup(), &course), "crashes between two calls");
}

/// The websocket service did not check the store's incarnation, so its nodes refused every read mark for ever; the
/// consumers noticed only with the next event (found by seed 20).
#[test]
fn a_store_emptied_while_nobody_says_anything_is_rebuilt() {
    let course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (2_000, What::Empty),
        (30_000, What::Say { device: 2, room: GROUP, verb: Verb::Mark, http: false }),
    ];
    happened(&lives(&setup(), &course), "ends with an error");
}
