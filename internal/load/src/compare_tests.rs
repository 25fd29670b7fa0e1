//! What is worse and what is noise.

use crate::bounds::Bound;
use crate::oracle::{Fault, Verdict};
use crate::report::{Group, StageFigures};
use crate::usage::Usage;

use super::*;

fn report(shown_p99_ms: f64) -> Report {
    let figures = |p99_ms: f64| Figures { count: 100, p50_ms: 1.0, p99_ms, ..Figures::default() };
    let (ack, shown) = (figures(10.0), figures(shown_p99_ms));
    Report {
        scenario: "steady".into(),
        devices: 10,
        users: 5,
        rate: 50.0,
        seconds: 60.0,
        stages: vec![StageFigures { stage: "steady".into(), group: Group::Others, ack, shown }],
        steps: Vec::new(),
        limit: None,
        verdict: Verdict::default(),
        bounds: Vec::new(),
        tool_late: Figures::default(),
        tool_dropped: 0,
        tool_p99_most_ms: 50.0,
        tool_usage: Usage::default(),
        back: Figures::default(),
        losses: BTreeMap::new(),
        resets: BTreeMap::new(),
        put_off: BTreeMap::new(),
        nodes: BTreeMap::new(),
        connects_per_second: 0,
        limits_hit: Vec::new(),
        exit: 0,
    }
}

fn outcome(first: &[f64], second: &[f64]) -> Exit {
    let side = |values: &[f64]| values.iter().copied().map(report).collect::<Vec<_>>();
    compare(&side(first), &side(second)).unwrap().outcome()
}

#[test]
fn two_milliseconds_and_a_tenth_are_noise() {
    assert_eq!(outcome(&[5.0], &[6.9]), Exit::Passed, "less than 2 ms");
    assert_eq!(outcome(&[5.0], &[7.1]), Exit::Failed);
    assert_eq!(outcome(&[200.0], &[215.0]), Exit::Passed, "less than a tenth");
    assert_eq!(outcome(&[200.0], &[225.0]), Exit::Failed);
    assert_eq!(outcome(&[200.0], &[20.0]), Exit::Passed, "better is not worse");
}

#[test]
fn several_runs_of_a_side_say_what_noise_is() {
    assert_eq!(outcome(&[20.0, 21.0, 22.0], &[30.0]), Exit::Failed);
    assert_eq!(outcome(&[20.0, 21.0, 35.0], &[30.0]), Exit::Passed, "the first side differs by more");
    assert_eq!(outcome(&[20.0, 21.0, 22.0], &[30.0, 31.0, 90.0]), Exit::Passed, "the second does");
    assert_eq!(outcome(&[20.0, 21.0, 22.0], &[30.0, 31.0, 32.0]), Exit::Failed);
}

#[test]
fn a_lower_limit_is_worse() {
    let limit = |limit: f64| Report { limit: Some(limit), ..report(5.0) };
    assert_eq!(compare(&[limit(1_000.0)], &[limit(800.0)]).unwrap().outcome(), Exit::Failed);
    assert_eq!(compare(&[limit(1_000.0)], &[limit(950.0)]).unwrap().outcome(), Exit::Passed);
    assert_eq!(compare(&[limit(1_000.0)], &[limit(2_000.0)]).unwrap().outcome(), Exit::Passed);
}

#[test]
fn a_loss_is_worse_than_any_figure_and_void_runs_prove_nothing() {
    let mut lost = report(1.0);
    lost.verdict.faults.insert(Fault::Lost, 1);
    assert_eq!(compare(&[report(100.0)], &[lost.clone()]).unwrap().outcome(), Exit::Failed);
    let void = Report { tool_dropped: 1, ..report(1.0) };
    assert_eq!(compare(&[void], &[report(1.0)]).unwrap().outcome(), Exit::Failed);
    let other = Report { devices: 11, ..report(1.0) };
    assert!(compare(&[report(1.0)], &[other]).is_err(), "not the same load");
    let text = serde_json::to_string(&lost).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), lost, "the file has all of it");
    assert!(lost.to_string().contains("1 lost"), "{lost}");
}

#[test]
fn what_the_product_did_wrong_comes_before_what_the_tool_did() {
    let mut both = Report { tool_dropped: 1, limits_hit: vec!["x".into()], ..report(1.0) };
    assert_eq!(both.outcome(), Exit::Setup);
    both.limits_hit.clear();
    assert_eq!(both.outcome(), Exit::Overloaded);
    both.verdict.faults.insert(Fault::NotShown, 1);
    assert_eq!(both.outcome(), Exit::Overloaded, "a slow tool does not show everything in time");
    both.verdict.faults.insert(Fault::Doubled, 1);
    assert_eq!(both.outcome(), Exit::Failed);
}

#[test]
fn what_is_not_shown_in_time_is_a_failure_unless_the_tool_was_slow() {
    let mut late = report(1.0);
    late.verdict.faults.insert(Fault::NotShown, 1);
    assert_eq!(late.outcome(), Exit::Failed);
}

#[test]
fn a_figure_that_is_gone_is_worse_unless_nobody_lost_a_connection() {
    let of_group = |group: Group| {
        let mut report = report(5.0);
        report.stages.push(StageFigures { group, ..report.stages[0].clone() });
        report
    };
    let without = |scenario: &str| Report { scenario: scenario.into(), ..report(5.0) };
    let with = |scenario: &str, group: Group| Report { scenario: scenario.into(), ..of_group(group) };
    let outcome = |first: Report, second: Report| compare(&[first], &[second]).unwrap().outcome();
    let nothing = Report { stages: Vec::new(), ..report(5.0) };
    assert_eq!(outcome(report(5.0), nothing), Exit::Failed);
    assert_eq!(outcome(Report { limit: Some(400.0), ..report(5.0) }, report(5.0)), Exit::Failed);
    assert_eq!(outcome(without("steady"), with("steady", Group::Cut)), Exit::Passed, "it is new");
    assert_eq!(outcome(with("steady", Group::Cut), without("steady")), Exit::Passed, "nobody lost a connection");
    assert_eq!(outcome(with("storm", Group::Cut), without("storm")), Exit::Failed, "nobody was cut: no storm");
    assert_eq!(outcome(with("slow", Group::Slow), without("slow")), Exit::Failed);
    let losses = BTreeMap::from([("4000, slow".to_owned(), 3)]);
    assert_eq!(outcome(with("steady", Group::Cut), Report { losses, ..report(5.0) }), Exit::Failed);
}

#[test]
fn a_second_side_that_missed_a_bound_is_worse() {
    let bound = Bound { what: "p99 shown, steady".into(), measured: None, most: 500.0, unit: "ms".into() };
    let missed = Report { bounds: vec![bound], ..report(5.0) };
    let outcome = |first: Report, second: Report| compare(&[first], &[second]).unwrap().outcome();
    assert_eq!(outcome(report(5.0), missed.clone()), Exit::Failed);
    assert_eq!(outcome(missed, report(5.0)), Exit::Passed);
}
