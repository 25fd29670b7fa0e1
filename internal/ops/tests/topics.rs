//! `topics apply` on the embedded log: complete, repeatable, resumable at every step.
#![allow(clippy::unwrap_used)]

mod support;

use environment::Entropy;
use eventlog::{Commit, EventLog, NewRecord, TopicPartition, append};
use events::Codec;
use events::topics::{self, DELIVERIES, FANOUT_SOURCES, GROUP_FANOUT, Lane, MESSAGES, SIGNALS, TopicSpec};
use ops::OpsError;
use ops::topics::{Step, apply, carry_out, check_topics, plan};
use support::log;

async fn apply_all(log: &dyn EventLog, seed: u64) -> Result<usize, OpsError> {
    apply(log, &Codec::compiled_in(), &Entropy::seeded(seed), |_| {}).await
}

async fn assert_in_place(log: &dyn EventLog) {
    assert_eq!(check_topics(log).await.unwrap(), Vec::<String>::new());
    let plan = plan(log).await.unwrap();
    assert_eq!((plan.steps, plan.faults, plan.lost, plan.warnings), (vec![], vec![], vec![], vec![]));
    for topic in topics::durable() {
        for partition in 0..topic.partitions {
            let marks = log.watermarks(&topic.name, partition).await.unwrap();
            assert_eq!((marks.low, marks.next), (0, 1), "{}/{partition}: one genesis record", topic.name);
            let at = TopicPartition::new(&topic.name, partition);
            let commit = log.committed(GROUP_FANOUT, &at).await.unwrap();
            let wanted = FANOUT_SOURCES.contains(&&*topic.name).then_some(0);
            assert_eq!(commit.map(|commit| commit.next), wanted, "{at}");
        }
    }
    let signals = topics::spec_of(SIGNALS);
    let found = log.describe(signals).await.unwrap().unwrap();
    assert_eq!((found.partitions, found.faults), (signals.partitions, vec![]));
    assert_eq!(log.watermarks(SIGNALS, 0).await.unwrap().next, 0, "a lossy topic has no genesis record");
}

#[tokio::test]
async fn apply_puts_everything_in_place_once() {
    let log = log().await;
    assert!(!check_topics(&*log).await.unwrap().is_empty());
    let steps = plan(&*log).await.unwrap().steps;
    assert!(matches!(steps[0], Step::Create(topic) if topic.name == MESSAGES));
    assert_eq!(apply_all(&*log, 1).await.unwrap(), steps.len());
    assert_in_place(&*log).await;
    assert_eq!(apply_all(&*log, 2).await.unwrap(), 0, "a second time finds nothing to do");
}

/// A wrong lossy topic prevents nothing: `topics apply` creates everything else.
#[tokio::test]
async fn a_lossy_topic_that_is_not_as_it_must_be_is_worth_a_word_and_no_more() {
    let log = log().await;
    let small = TopicSpec { partitions: 3, retention: None, ..topics::spec_of(SIGNALS).clone() };
    assert_eq!(small.lane, Lane::Lossy);
    log.create(&small).await.unwrap();
    apply_all(&*log, 1).await.unwrap();
    let plan = plan(&*log).await.unwrap();
    assert_eq!((plan.steps, plan.faults, plan.lost), (vec![], vec![], vec![]));
    let words = "chat.signals has 3 partitions, not 12";
    assert!(matches!(&plan.warnings[..], [warning] if warning.contains(words)), "{:?}", plan.warnings);
    assert_eq!(check_topics(&*log).await.unwrap(), Vec::<String>::new(), "programs may run");
}

#[tokio::test]
async fn planning_changes_nothing() {
    let log = log().await;
    plan(&*log).await.unwrap();
    assert_eq!(log.describe(topics::spec_of(MESSAGES)).await.unwrap(), None);
}

#[tokio::test]
async fn apply_goes_on_after_dying_behind_any_step() {
    let (codec, entropy) = (Codec::compiled_in(), Entropy::seeded(1));
    let all = plan(&*log().await).await.unwrap().steps;
    for died_behind in (0..all.len()).step_by(7).chain([1, 2, 3, all.len() - 1]) {
        let log = log().await;
        for step in &all[..died_behind] {
            carry_out(&*log, &codec, &entropy, step).await.unwrap();
        }
        let missing = plan(&*log).await.unwrap();
        assert_eq!(missing.faults.len() + missing.lost.len(), 0, "after {died_behind} steps");
        assert_eq!(apply_all(&*log, 2).await.unwrap(), all.len() - died_behind);
        assert_in_place(&*log).await;
    }
}

#[tokio::test]
async fn a_partition_with_foreign_records_is_refused_and_nothing_is_written() {
    let log = log().await;
    log.create(topics::spec_of(DELIVERIES)).await.unwrap();
    let record = NewRecord { key: "k".into(), partition: Some(3), headers: vec![], payload: "x".into() };
    append(&*log, DELIVERIES, record).await.unwrap();
    let Err(OpsError::Refused(faults)) = apply_all(&*log, 1).await else { panic!("not refused") };
    assert!(faults.iter().any(|fault| fault.contains("chat.deliveries/3")), "{faults:?}");
    assert_eq!(log.describe(topics::spec_of(MESSAGES)).await.unwrap(), None, "nothing was created");
}

#[tokio::test]
async fn a_lost_commit_is_healed_only_where_nothing_could_be_passed_over() {
    let log = log().await;
    log.create(topics::spec_of(MESSAGES)).await.unwrap();
    // As if the group's commits had expired: genesis records everywhere, traffic in one partition, no commits.
    for partition in 0..topics::spec_of(MESSAGES).partitions {
        let step = Step::Genesis { topic: topics::spec_of(MESSAGES), partition };
        carry_out(&*log, &Codec::compiled_in(), &Entropy::seeded(1), &step).await.unwrap();
    }
    let tick = Codec::compiled_in().tick();
    let record = NewRecord { key: "k".into(), partition: Some(5), headers: tick.headers, payload: tick.payload };
    append(&*log, MESSAGES, record).await.unwrap();
    let Err(OpsError::Refused(lost)) = apply_all(&*log, 1).await else { panic!("not refused") };
    assert!(lost.len() == 1 && lost[0].contains("chat.messages/5"), "{lost:?}");
    assert_eq!(check_topics(&*log).await.unwrap(), Vec::<String>::new(), "the others can run");

    let at = TopicPartition::new(MESSAGES, 5);
    assert!(matches!(ops::groups::set(&*log, &at, 3).await, Err(OpsError::Usage(_))), "beyond the end");
    ops::groups::set(&*log, &at, 2).await.unwrap();
    let commit = log.committed(GROUP_FANOUT, &at).await.unwrap();
    assert_eq!(commit, Some(Commit { next: 2, metadata: String::new() }));
    assert_eq!(apply_all(&*log, 1).await.unwrap(), 0);
}
