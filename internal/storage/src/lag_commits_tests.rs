//! The commits must not delay storage, nor claim more than is applied.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::{RULES_NEWEST, Seq};
use eventlog::{Assigned, Commit, CommitError, Committer, SharedLog, TopicPartition};
use events::topics::{MESSAGES, RECEIPTS};
use store::{Applied, ChatStore, Source};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, PARTITION, Silent};
use crate::{partition, read_marks};

/// A group whose coordinator is away.
struct Away;

#[async_trait]
impl Committer for Away {
    async fn commit(&self, _: &[(TopicPartition, Commit)]) -> Result<(), CommitError> {
        std::future::pending().await
    }
}

/// A group that accepts every commit.
#[derive(Default)]
struct Kept(Mutex<Vec<Commit>>);

#[async_trait]
impl Committer for Kept {
    async fn commit(&self, commits: &[(TopicPartition, Commit)]) -> Result<(), CommitError> {
        self.0.lock().unwrap().extend(commits.iter().map(|(_, commit)| commit.clone()));
        Ok(())
    }
}

fn assigned(topic: &str) -> Assigned {
    Assigned { at: TopicPartition::new(topic, PARTITION), commit: None }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_not_answered_delays_no_record_and_no_end() {
    let (fixture, stop) = (Fixture::new().await, CancellationToken::new());
    let [(conversation, create)] = fixture.groups(1).try_into().unwrap();
    let work = partition::run(fixture.deps(RULES_NEWEST), assigned(MESSAGES), Arc::new(Away), stop.clone());
    let work = tokio::spawn(work);
    let mut last = fixture.append(&create).await;
    for _ in 0..3 {
        let source = Source { topic: MESSAGES, partition: PARTITION };
        let applied = fixture.store.wait_applied(source, last, Duration::from_secs(1)).await;
        assert!(applied.unwrap(), "{last} waits for a commit");
        sleep(Duration::from_secs(70)).await; // virtual time: the next commit is due
        last = fixture.append(&fixture.message(conversation)).await;
    }
    stop.cancel();
    timeout(Duration::from_secs(2), work).await.expect("the end waits for a commit").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn how_far_it_has_come_is_committed_now_and_then_and_at_the_end() {
    let (fixture, stop, kept) = (Fixture::new().await, CancellationToken::new(), Arc::<Kept>::default());
    let [(_, create)] = fixture.groups(1).try_into().unwrap();
    let work = partition::run(fixture.deps(RULES_NEWEST), assigned(MESSAGES), kept.clone(), stop.clone());
    let work = tokio::spawn(work);
    sleep(Duration::from_secs(70)).await; // virtual time: two commits are due
    fixture.append(&create).await;
    sleep(Duration::from_secs(1)).await; // virtual time: it is applied
    stop.cancel();
    work.await.unwrap().unwrap();
    let kept: Vec<u64> = kept.0.lock().unwrap().iter().map(|commit| commit.next).collect();
    assert_eq!(kept[kept.len() - 2..], [1, 2], "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_stopped_before_it_knows_its_place_commits_nothing() {
    for topic in [MESSAGES, RECEIPTS] {
        let (fixture, stop, kept) = (Fixture::new().await, CancellationToken::new(), Arc::<Kept>::default());
        let record = eventlog::record_at(&*fixture.log, topic, PARTITION, 0).await.unwrap().unwrap();
        let applied = Applied { seq: Seq::new(0, 0).unwrap(), fingerprint: record.fingerprint() };
        fixture.store.set_applied(Source { topic, partition: PARTITION }, applied).await.unwrap();
        // The check whether the log is the one that was applied is never answered.
        let log: SharedLog = Arc::new(Silent::new(&fixture.log, u32::MAX));
        let deps = fixture.deps_over(log);
        let work = if topic == MESSAGES {
            tokio::spawn(partition::run(deps, assigned(topic), kept.clone(), stop.clone()))
        } else {
            tokio::spawn(read_marks::run(deps, assigned(topic), kept.clone(), stop.clone()))
        };
        sleep(Duration::from_secs(100)).await; // virtual time: it asks, and asks again
        stop.cancel();
        work.await.unwrap().unwrap();
        assert_eq!(*kept.0.lock().unwrap(), [], "{topic}: the group's commit is further on");
    }
}
