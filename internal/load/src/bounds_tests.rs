//! Bounds that are more than a comparison of two numbers.

use client::{CommandId, Seq};

use crate::journal::Loss;
use crate::ledger::Fate;
use crate::options::LoadOptions;

use super::*;

#[derive(clap::Parser)]
struct Call {
    #[command(flatten)]
    options: LoadOptions,
}

fn plan(scenario: Scenario, words: &[&str]) -> Plan {
    let call = <Call as clap::Parser>::try_parse_from(["load"].iter().chain(words)).unwrap();
    Plan::new(scenario, call.options).unwrap()
}

fn lost(at_us: u64, back_us: Option<u64>) -> Loss {
    Loss { at_us, back_us, code: None, reason: String::new() }
}

/// A send that was due at that second and shown two seconds later.
fn message(number: u32, due_s: u64) -> (Sent, Shown) {
    let (seq, id) = (Seq::try_from(u64::from(number) + 1).unwrap(), CommandId::first_at(i64::from(number)));
    let (due_us, at_us) = (due_s * 1_000_000, (due_s + 2) * 1_000_000);
    let sent = Sent {
        id,
        conversation: 0,
        device: 0,
        stage: 0,
        due_us,
        acked_us: Some(due_us),
        fate: Fate::Stands(seq),
        unordered: false,
    };
    (sent, Shown { conversation: 0, number, seq, id, at_us })
}

#[test]
fn a_slow_device_is_closed_if_nothing_later_came_over_its_connection() {
    // Two of the four devices are slow, from second 10 until second 60.
    let plan = plan(
        Scenario::Slow,
        &["--devices=4", "--rate=5", "--devices-per-user=1", "--share=0.25", "--seconds=100", "--sizes=2"],
    );
    let acts = [(Act::Slow, 10_000_000), (Act::Hurry, 60_000_000)];
    let (sent, shown): (Vec<Sent>, Vec<Shown>) = [message(0, 5), message(1, 30), message(2, 65)].into_iter().unzip();
    let open = |at_s: &[u64]| {
        let losses = at_s.iter().map(|at| lost(at * 1_000_000, None)).collect();
        let journal = Journal { losses, shown: shown.clone(), ..Journal::default() };
        let journals = vec![journal; 4];
        let (stages, sent, journals, acts) = (&[][..], &sent[..], &journals[..], &acts[..]);
        Measured { plan: &plan, stages, sent, journals, acts, connects_per_second: 0 }.not_closed()
    };
    let slow = plan.roles.iter().filter(|role| **role != Role::Normal).count() as f64;
    assert_eq!((open(&[]), slow), (slow, 2.0), "nothing was lost");
    assert_eq!(open(&[20]), 0.0, "lost while it was slow");
    assert_eq!(open(&[64]), 0.0, "found when it read again");
    assert_eq!(open(&[70]), slow, "it was alive at second 65");
    assert_eq!(open(&[5]), slow, "that was before");
}

#[test]
fn who_never_came_back_misses_every_bound() {
    let plan = plan(Scenario::Storm, &["--devices=4"]);
    let longest = |losses: Vec<Loss>| {
        let journals = vec![Journal { losses, ..Journal::default() }; 4];
        let (stages, sent, journals, acts) = (&[][..], &[][..], &journals[..], &[][..]);
        Measured { plan: &plan, stages, sent, journals, acts, connects_per_second: 0 }.longest_absence_s()
    };
    assert_eq!(longest(vec![]), Some(0.0));
    assert_eq!(longest(vec![lost(1_000_000, Some(4_500_000))]), Some(3.5));
    let never = longest(vec![lost(1_000_000, None)]);
    assert_eq!(never, None);
    assert!(!Bound::new("x", never, 30.0, "s").passed());
}

#[test]
fn a_reset_where_nothing_disturbs_misses_a_bound() {
    let missed = |scenario: Scenario, resets: u64| {
        let plan = plan(scenario, &["--devices=20"]);
        let resets = [("too_far".to_owned(), resets)].into();
        let journals = [Journal { resets, ..Journal::default() }];
        let (stages, sent, journals, acts) = (&[][..], &[][..], &journals[..], &[][..]);
        let bounds = Measured { plan: &plan, stages, sent, journals, acts, connects_per_second: 0 }.bounds();
        bounds.iter().any(|bound| bound.what == "resets" && !bound.passed())
    };
    for scenario in [Scenario::Steady, Scenario::Idle, Scenario::FanIn] {
        assert!(missed(scenario, 1) && !missed(scenario, 0), "{scenario:?}");
    }
    assert!(!missed(Scenario::Storm, 1), "a node that was away may have forgotten");
}

#[test]
fn where_some_are_to_be_spared_there_must_be_others() {
    let figures = |count: u64| Figures { count, p99_ms: 5.0, ..Figures::default() };
    let stage = |name: &str, group: Group, count: u64| StageFigures {
        stage: name.into(),
        group,
        ack: figures(count),
        shown: figures(count),
    };
    let passed = |scenario: Scenario, words: &[&str], during: &str, of: [Option<u64>; 2]| {
        let plan = plan(scenario, &[&["--devices=100", "--seconds=120"], words].concat());
        let names = ["before", during].into_iter().zip(of);
        let others = names.filter_map(|(name, count)| Some(stage(name, Group::Others, count?)));
        let stages: Vec<StageFigures> = others.chain([stage(during, Group::Cut, 9)]).collect();
        let (stages, sent, journals, acts) = (&stages[..], &[][..], &[][..], &[][..]);
        let bounds = Measured { plan: &plan, stages, sent, journals, acts, connects_per_second: 0 }.others(during);
        bounds.iter().all(Bound::passed)
    };
    for (scenario, during) in [(Scenario::Slow, "slow"), (Scenario::Away, "away"), (Scenario::Burst, "after")] {
        assert!(passed(scenario, &[], during, [Some(9), Some(9)]), "{scenario:?}");
        assert!(!passed(scenario, &[], during, [None, None]), "{scenario:?}: everybody lost a connection");
        assert!(!passed(scenario, &[], during, [Some(9), None]), "{scenario:?}");
        assert!(!passed(scenario, &[], during, [Some(9), Some(0)]), "{scenario:?}: nothing was measured");
    }
    assert!(!passed(Scenario::Storm, &[], "storm", [Some(9), None]), "half of them were not to be cut");
    assert!(passed(Scenario::Storm, &["--command=true"], "storm", [Some(9), None]), "the only node was killed");
    assert!(passed(Scenario::Away, &["--share=1", "--rate=1"], "away", [None, None]), "all were sent away");
}

#[test]
fn a_move_to_another_node_is_no_lost_connection() {
    let plan = plan(Scenario::Idle, &["--devices=4"]);
    let idle = |reason: &str| {
        let journals =
            [Journal { losses: vec![Loss { reason: reason.into(), ..lost(5, Some(6)) }], ..Journal::default() }];
        let (stages, sent, journals, acts) = (&[][..], &[][..], &journals[..], &[][..]);
        let bounds = Measured { plan: &plan, stages, sent, journals, acts, connects_per_second: 0 }.bounds();
        bounds.into_iter().find(|bound| bound.what == "lost connections").unwrap().passed()
    };
    assert!(idle(client::MOVES));
    assert!(!idle("the connection ended"));
}
