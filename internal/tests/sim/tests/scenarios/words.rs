//! Commands: retries, races, clocks that are wrong.

use sim::{Kind, Rates, Repeat, Verb, What};

use crate::{DIRECT, GROUP, happened, lives, say, setup};

const AGAIN: What = What::Repeat { device: 0, how: Repeat::Same, http: false };
const GIVEN_UP: What = What::Repeat { device: 0, how: Repeat::Withdraw, http: true };
const HOUR_MS: i64 = 3_600_000;
const MONTH_MS: i64 = 31 * 24 * HOUR_MS;

/// 4: retries after the producer has given up, ids from clocks that are wrong, a broker's clock that runs back.
#[test]
fn one_message_whatever_the_clocks_and_the_producer_do() {
    let rates = Rates { unknown: 300, late: 300, log_ms: 20, store_ms: 5, ..Rates::default() };
    for skew in [0, -170_000, -190_000, -HOUR_MS, -21 * 24 * HOUR_MS, 30_000] {
        let setup = sim::Setup { device_skews_ms: vec![skew], ..setup() };
        let course = vec![
            (500, What::Faults { rates }),
            (10, say(0, GROUP, Verb::Send)),
            (2_000, AGAIN),
            (10, What::BrokerClock { ms: -400_000 }),
            (10, AGAIN),
            (4_000, What::Leap { ms: 200_000 }),
            (10, AGAIN),
            (10, say(0, GROUP, Verb::Send)),
            (10, What::BrokerDown { ms: 11_000 }),
            (500, AGAIN),
            (15_000, AGAIN),
        ];
        lives(&setup, &course);
    }
}

/// 5: the ack is lost, and the device is away for an hour, then for 31 days.
#[test]
fn a_lost_ack_and_a_long_absence_make_one_message() {
    let mut course = vec![(500, say(1, GROUP, Verb::Send))];
    for away_ms in [HOUR_MS, MONTH_MS] {
        course.extend([
            (500, What::Cut { device: 0, after: 10 }),
            (0, say(0, GROUP, Verb::Send)),
            (20, What::Away { device: 0, away: true }),
            (100, What::Leap { ms: away_ms }),
            (40_000, say(1, GROUP, Verb::Send)),
            (500, What::Away { device: 0, away: false }),
            (500, AGAIN),
        ]);
    }
    happened(&lives(&setup(), &course), "leaps in time");
}

/// 5 and 19: a withdrawal races its message, in both orders.
#[test]
fn a_withdrawal_and_its_message_settle_on_one_of_them() {
    let late = Rates { late: 700, log_ms: 20, ..Rates::default() };
    let course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (5, GIVEN_UP),
        (2_000, What::Faults { rates: late }),
        (5, say(0, GROUP, Verb::Send)),
        (50, GIVEN_UP),
        (5_000, AGAIN),
        (5, say(0, DIRECT, Verb::Send)),
        (5, GIVEN_UP),
        (20_000, AGAIN),
    ];
    happened(&lives(&setup(), &course), "appends unknown and done later");
}

/// 6: a duplicate's ack, then an edit and a reply; a sender removed between check and append.
#[test]
fn who_is_removed_under_way_is_told_so_and_duplicates_can_be_answered() {
    let late = Rates { late: 500, log_ms: 30, ..Rates::default() };
    let course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (300, AGAIN),
        (5, say(0, GROUP, Verb::Edit)),
        (300, say(1, GROUP, Verb::Reply)),
        (10, What::Faults { rates: late }),
        (5, say(2, GROUP, Verb::Send)),
        (0, say(1, GROUP, Verb::Send)),
        (0, say(0, GROUP, Verb::Remove)),
        (5_000, say(0, GROUP, Verb::Remove)),
        (10, say(2, GROUP, Verb::Send)),
    ];
    lives(&setup(), &course);
}

/// 14: both users create their direct conversation at once, and the creation is retried.
#[test]
fn two_who_open_a_chat_at_once_have_one() {
    let course = vec![
        (0, say(1, DIRECT, Verb::Create)),
        (0, say(0, DIRECT, Verb::Create)),
        (5, say(1, DIRECT, Verb::Send)),
        (5, say(0, DIRECT, Verb::Send)),
        (2_000, say(0, DIRECT, Verb::Create)),
        (5, say(1, DIRECT, Verb::Create)),
        (5, say(0, GROUP, Verb::Create)),
    ];
    lives(&setup(), &course);
}

/// 15: an edit right after its send, an edit after the deletion, a send right after being added.
#[test]
fn commands_right_behind_what_they_need_are_judged_at_log_order() {
    let slow = What::StoreSlow { kind: Kind::Storage, by_ms: 2_000, ms: 10_000 };
    let course = vec![
        (0, say(0, GROUP, Verb::Send)),
        (300, slow),
        (0, say(0, GROUP, Verb::Send)),
        (30, say(0, GROUP, Verb::Edit)),
        (0, say(0, GROUP, Verb::Delete)),
        (0, say(0, GROUP, Verb::Edit)),
        (30, say(0, GROUP, Verb::Remove)),
        (0, say(0, GROUP, Verb::Add)),
        (0, say(2, GROUP, Verb::Send)),
        (0, say(1, GROUP, Verb::Send)),
        (10, What::Repeat { device: 4, how: Repeat::Same, http: false }),
        (10, What::Repeat { device: 2, how: Repeat::Other, http: true }),
    ];
    lives(&setup(), &course);
}

/// 18: ids stamped just past a week's edge (every world begins five minutes before one), old ids retried at once.
#[test]
fn ids_around_a_weeks_edge_and_old_ones_are_told_apart() {
    for skew in [0, 59_000, -HOUR_MS] {
        let setup = sim::Setup { device_skews_ms: vec![skew], ..setup() };
        let course = vec![
            (500, What::Leap { ms: 240_000 }),
            (10, say(0, GROUP, Verb::Send)),
            (0, AGAIN),
            (5, What::Leap { ms: 59_000 }),
            (10, say(0, GROUP, Verb::Send)),
            (0, AGAIN),
            (2_000, What::BrokerClock { ms: -30_000 }),
            (10, say(0, GROUP, Verb::Send)),
            (0, AGAIN),
            (10, What::Kill { process: 3 }),
            (5, What::Start { process: 3, old: false }),
            (10, AGAIN),
        ];
        lives(&setup, &course);
    }
}

/// 20: storage is slow while a retry of an old id meets a warm fan-out.
#[test]
fn a_retry_of_an_old_id_waits_for_slow_storage_without_harm() {
    let setup = sim::Setup { device_skews_ms: vec![-HOUR_MS], ..setup() };
    let course = vec![
        (500, say(0, GROUP, Verb::Send)),
        (2_000, What::StoreSlow { kind: Kind::Storage, by_ms: 6_000, ms: 30_000 }),
        (5, AGAIN),
        (5, say(1, GROUP, Verb::Send)),
        (5, AGAIN),
        (500, say(0, GROUP, Verb::Send)),
        (5, AGAIN),
    ];
    lives(&setup, &course);
}
