//! Devices that come back: too late, in the middle of a sync, twice, or from an older copy of their memory.

use sim::{Kind, Verb, What};

use crate::{GROUP, happened, lives, say, setup};

const MONTH_MS: i64 = 31 * 24 * 3_600_000;

/// 3: devices are reset while storage lags behind the fan-out.
#[test]
fn a_device_that_is_reset_between_fanout_and_storage_gets_a_message_once() {
    let course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (300, What::Away { device: 4, away: true }),
        (100, say(0, GROUP, Verb::Send)),
        (100, say(1, GROUP, Verb::Send)),
        (500, What::Leap { ms: MONTH_MS }),
        (40_000, What::StoreSlow { kind: Kind::Storage, by_ms: 5_000, ms: 20_000 }),
        (5, say(0, GROUP, Verb::Send)),
        (20, What::Kill { process: 1 }),
        (0, What::Kill { process: 2 }),
        (10, What::Start { process: 1, old: false }),
        (10, What::Away { device: 4, away: false }),
        (5, say(0, GROUP, Verb::Send)),
        (3_000, What::Cut { device: 4, after: 0 }),
        (5, say(1, GROUP, Verb::Send)),
    ];
    happened(&lives(&setup(), &course), "resets");
}

/// 11: a small ring laps a device while it reads the log.
#[test]
fn a_device_that_is_lapped_is_reset_or_served_and_misses_nothing() {
    let setup = sim::Setup { ring: 2, range: 6, pipe: 16_384, ..setup() };
    let mut course = vec![(500, say(0, GROUP, Verb::Send)), (100, What::Away { device: 4, away: true })];
    course.extend((0..12).map(|number| (50, say(number % 2, GROUP, Verb::Send))));
    course.extend([(100, What::Away { device: 4, away: false }), (0, What::Stall { device: 5, ms: 15_000 })]);
    course.extend((0..12).map(|number| (5, say(number % 2, GROUP, Verb::Send))));
    happened(&lives(&setup, &course), "resets");
}

/// A device reads nothing while its node is asked to stop: the frames that were queued there come from the next
/// node.
#[test]
fn a_slow_device_whose_node_leaves_misses_nothing() {
    let setup = sim::Setup { pipe: 16_384, ..setup() };
    let mut course = vec![(500, say(0, GROUP, Verb::Send)), (100, What::Stall { device: 4, ms: 4_000 })];
    course.extend((0..8).map(|number| (10, say(number % 2, GROUP, Verb::Long))));
    course.extend([(1_000, What::Stop { process: 1 }), (0, What::Stop { process: 2 })]);
    course.extend([(3_000, What::Start { process: 1, old: false }), (10, say(1, GROUP, Verb::Send))]);
    happened(&lives(&setup, &course), "stops");
}

/// 17: devices with live cursors, and read marks of other devices that arrive first.
#[test]
fn marks_and_lists_that_arrive_first_filter_nothing_away() {
    let mut course = vec![(500, say(0, GROUP, Verb::Send))];
    for number in 0..5 {
        course.extend([
            (50, say(number % 3, GROUP, Verb::Send)),
            (20, What::Say { device: 3, room: GROUP, verb: Verb::Mark, http: false }),
            (5, What::Say { device: 2, room: GROUP, verb: Verb::Mark, http: false }),
            (5, What::Cut { device: 2, after: 30 }),
        ]);
    }
    lives(&setup(), &course);
}

/// 19: a drop before the sync ends; a removed and re-added user; a partition trimmed empty.
#[test]
fn half_a_sync_counts_for_nothing_and_who_is_added_again_reads_again() {
    let mut course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (300, What::Away { device: 4, away: true }),
        (100, say(0, GROUP, Verb::Send)),
        (100, say(1, GROUP, Verb::Send)),
        (500, What::Leap { ms: MONTH_MS }),
        (40_000, What::StoreSlow { kind: Kind::Chat, by_ms: 2_000, ms: 20_000 }),
    ];
    // The earlier nodes would serve them from memory.
    course.extend([1, 2].map(|process| (10, What::Kill { process })));
    course.extend([1, 2].map(|process| (10, What::Start { process, old: false })));
    course.push((10, What::Away { device: 4, away: false }));
    course.extend((0..6).map(|device| (300, What::Cut { device, after: 400 })));
    course.extend([
        (5, say(2, GROUP, Verb::Leave)),
        (5, say(1, GROUP, Verb::React)),
        (300, say(0, GROUP, Verb::Add)),
        (0, say(0, GROUP, Verb::Add)),
        (0, say(0, GROUP, Verb::Add)),
        (20, say(1, GROUP, Verb::Send)),
        (300, say(2, GROUP, Verb::Send)),
    ]);
    happened(&lives(&setup(), &course), "resets");
}

/// Devices restored from an older copy of their memory resume from its cursor.
#[test]
fn a_device_restored_from_a_backup_gets_what_it_lost() {
    let course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (300, What::Save { device: 2 }),
        (10, say(0, GROUP, Verb::Send)),
        (300, say(0, GROUP, Verb::Edit)),
        (300, What::GoBack { device: 2 }),
        (10, say(2, GROUP, Verb::Send)),
        (2_000, What::GoBack { device: 2 }),
        (5, What::Vanish { device: 3 }),
        (5, say(2, GROUP, Verb::Send)),
    ];
    lives(&setup(), &course);
}

/// Issue 10, item 10: a socket gets another token before its own expires, and no device reconnects because of it.
#[test]
fn sockets_outlive_their_tokens() {
    let short = lives(&setup(), &vec![(500, say(0, GROUP, Verb::Send))]);
    let course = vec![(500, say(0, GROUP, Verb::Send)), (1_000_000, say(1, GROUP, Verb::Send))];
    let long = lives(&setup(), &course);
    happened(&long, "tokens renewed");
    assert_eq!(long["connections"], short["connections"], "{long:?}");
}
