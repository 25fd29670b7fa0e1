//! Runs many worlds, and checks that a seed alone determines a world.
//!
//! `KLATSCH_SIM_SEEDS=FROM..TO` selects other seeds than the default ones; CI runs a thousand.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use sim::{plan_of, run, run_seeds};

/// The seeds that run by default.
const USUAL: Range<u64> = 1..161;
/// Each run has a thread, a runtime and a virtual time of its own.
const THREADS: usize = 2;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("KLATSCH_SIM_SEEDS") else { return USUAL };
    let (from, to) = text.split_once("..").expect("KLATSCH_SIM_SEEDS=FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn no_fault_loses_doubles_or_reorders_anything() {
    let report = run_seeds(seeds(), THREADS, 1);
    println!("{report}");
    if let Some((seed, wrong)) = report.failed.first() {
        panic!("seed {seed}: {wrong}\n{}", sim::show(*seed, false).0);
    }
    let happened = |what: &str| report.totals.get(what).copied().unwrap_or(0) * 100 / report.seeds.max(1);
    for what in [
        "crashes",
        "partitions revoked",
        "store errors without effect",
        "appends unknown and done",
        "store writes done in two parts",
        "batches committed with their progress",
        "processes paused",
        "read marks logged",
        "read marks heard",
        "account frames heard",
        "foreign records: corrupt",
        "foreign records: headerless",
        "foreign records in chat.messages",
        "foreign records in chat.receipts",
        "foreign records in chat.deliveries",
        "foreign records in users.events",
        "foreign frames passed over",
        "last messages seen in lists",
        "signals heard",
        "presences heard",
    ] {
        assert!(happened(what) > 0, "{what}: it really happens");
    }
    if report.seeds >= 100 {
        for kind in domain::Kind::ALL {
            let sent = report.totals.get(kind.name()).copied().unwrap_or(0);
            assert!(sent > 0, "{kind:?}: devices send commands of every kind");
        }
        for what in [
            "deliveries created anew",
            "signals lost",
            "rows that cannot be read",
            "batches whose commit was answered with an error",
            "foreign records: unknown schema",
            "foreign records: headerless, of no registered schema",
            "events dropped by an operator",
        ] {
            assert!(report.totals.get(what).is_some_and(|times| *times > 0), "{what}: it happens now and then");
        }
    }
}

/// Seeds that have found a bug and that CI does not cover; each bug also has a test of its own in its crate.
#[test]
fn seeds_that_failed_once_do_not() {
    for seed in [266, 321, 860, 1366, 3535, 11_286, 15_608, 18_112, 30_220, 44_688, 50_522] {
        assert_eq!(run(&plan_of(seed), false).wrong, None, "seed {seed}");
    }
}

#[test]
fn a_seed_takes_the_same_course_again_and_on_any_thread() {
    let one = run_seeds(3..9, 1, 1);
    let two = run_seeds(3..9, 2, 1);
    assert_eq!((one.hash, one.totals), (two.hash, two.totals));
    let (plan, again) = (plan_of(5), plan_of(5));
    assert_eq!(plan, again);
    let (kept, silent) = (run(&plan, true), run(&again, false));
    assert_eq!(kept.hash, silent.hash, "keeping the lines changes nothing");
    assert!(kept.lines.len() > 50);
}
