//! The groups of the embedded log with members that join, leave, are slow or stop polling at random.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use environment::{Clock, Entropy};
use eventlog::embedded::EmbeddedLog;
use eventlog::{Commit, CommitError, Committer, EventLog, GroupEvent, GroupMember, Revocation, TopicPartition};
use events::topics::{Lane, TopicSpec};
use futures_util::FutureExt as _;
use kv::Database;

const TOPIC: &str = "topic";
const GROUP: &str = "group";
const PARTITIONS: u32 = 5;

async fn open() -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::open(Database::in_memory(), Clock::from_fn(|| 0)).await.unwrap();
    log.create(&TopicSpec {
        name: TOPIC.into(),
        partitions: PARTITIONS,
        generation: 0,
        retention: None,
        lane: Lane::Durable,
    })
    .await
    .unwrap();
    log
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A member, with the state that its owner knows.
struct Seen {
    member: Box<dyn GroupMember>,
    committer: Box<dyn Committer>,
    /// The owned partitions with the commits that the member knows of.
    owned: BTreeMap<TopicPartition, u64>,
    revoked: Vec<Revocation>,
}

impl Seen {
    async fn join(log: &EmbeddedLog) -> Self {
        let member = log.join(GROUP, &[TOPIC]).await.unwrap();
        Self { committer: member.committer(), member, owned: BTreeMap::new(), revoked: Vec::new() }
    }

    /// Receives all pending events.
    fn poll(&mut self, committed: &BTreeMap<TopicPartition, u64>) {
        while let Some(event) = self.member.next().now_or_never() {
            match event.unwrap() {
                GroupEvent::Assigned(partitions) => {
                    for assigned in partitions {
                        let next = assigned.commit.map_or(0, |commit| commit.next);
                        assert_eq!(next, committed.get(&assigned.at).copied().unwrap_or(0), "no commit is missed");
                        assert!(self.owned.insert(assigned.at, next).is_none());
                    }
                }
                GroupEvent::Revoked(revocation) => self.revoked.push(revocation),
                GroupEvent::Lost(partitions) => {
                    for at in partitions {
                        // The member may have released it too late and lost it before.
                        self.owned.remove(&at);
                        self.revoked.retain(|revocation| !revocation.partitions.contains(&at));
                    }
                }
            }
        }
    }

    fn release(&mut self) {
        for Revocation { partitions, release } in self.revoked.drain(..) {
            for at in partitions {
                assert!(self.owned.remove(&at).is_some(), "only what it had is revoked");
            }
            // The release may be too late: then the member receives the loss.
            let _ = release.send(());
        }
    }
}

/// Whatever the members do, only the owner of a partition can commit, the commits of each partition only increase,
/// and in the end every partition has one owner, evenly distributed.
#[tokio::test(start_paused = true)]
async fn random_members_never_own_or_commit_a_partition_twice() {
    for seed in 0..60 {
        let entropy = Entropy::seeded(seed);
        let log = open().await;
        let mut members: Vec<Seen> = Vec::new();
        let mut committed: BTreeMap<TopicPartition, u64> = BTreeMap::new();
        for _step in 0..120 {
            let chosen = usize::try_from(entropy.below(4)).unwrap();
            let action = entropy.below(8);
            if action == 0 && members.len() < 4 {
                members.push(Seen::join(&log).await);
            }
            if action == 1 && chosen < members.len() {
                drop(members.swap_remove(chosen));
            }
            match (action, members.get_mut(chosen)) {
                (0 | 1, _) => {}
                (2, Some(member)) => member.release(),
                (3, _) => tokio::time::sleep(Duration::from_secs(entropy.below(12))).await,
                (4 | 5, Some(member)) => member.poll(&committed),
                (_, Some(member)) => {
                    let at = TopicPartition::new(TOPIC, u32::try_from(entropy.below(5)).unwrap());
                    let next = committed.get(&at).copied().unwrap_or(0) + 1;
                    let commit = Commit { next, metadata: String::new() };
                    match member.committer.commit(&[(at.clone(), commit)]).await {
                        Ok(()) => drop(committed.insert(at, next)),
                        Err(CommitError::Fenced) => {}
                        Err(other) => panic!("seed {seed}: {other}"),
                    }
                }
                (_, None) => {}
            }
            settle().await;
        }
        while members.len() < 2 {
            members.push(Seen::join(&log).await);
        }
        for _turn in 0..200 {
            for member in &mut members {
                member.poll(&committed);
                member.release();
            }
            settle().await;
        }
        let mut owners: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            assert!(member.owned.len().abs_diff(PARTITIONS as usize / members.len()) <= 1, "seed {seed}: unevenly");
            for at in member.owned.keys() {
                assert_eq!(owners.insert(at, index), None, "seed {seed}: {at} is owned twice");
            }
        }
        assert_eq!(owners.len(), PARTITIONS as usize, "seed {seed}: something is owned by nobody");
        log.close().await;
    }
}

/// Found by the simulator (seed 321): a member that did not receive its events while its partition went to another
/// and came back resumed its old work, and its old commit overwrote the other member's.
#[tokio::test(start_paused = true)]
async fn who_was_replaced_unheard_commits_only_from_what_it_is_given_anew() {
    let log = open().await;
    let mut deaf = Seen::join(&log).await;
    deaf.poll(&BTreeMap::new());
    let at = deaf.owned.keys().next().unwrap().clone();
    let commit = |next| [(at.clone(), Commit { next, metadata: String::new() })];
    deaf.committer.commit(&commit(1)).await.unwrap();
    // The member is declared dead: the other one gets its partitions, commits further and leaves.
    tokio::time::sleep(Duration::from_secs(61)).await;
    let mut other = Seen::join(&log).await;
    settle().await;
    other.poll(&BTreeMap::from([(at.clone(), 1)]));
    other.committer.commit(&commit(9)).await.unwrap();
    drop(other);
    // It polls again and is assigned the partition, but has only received the loss so far.
    let lost = deaf.member.next().await.unwrap();
    assert!(matches!(lost, GroupEvent::Lost(_)), "{lost:?}");
    settle().await;
    let refused = deaf.committer.commit(&commit(2)).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    deaf.owned.clear();
    deaf.poll(&BTreeMap::from([(at.clone(), 9)]));
    assert_eq!(deaf.owned.get(&at), Some(&9), "it goes on where the other ended");
    deaf.committer.commit(&commit(10)).await.unwrap();
    log.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_poll_loses_its_share_until_it_does() {
    let log = open().await;
    let none = BTreeMap::new();
    let (mut silent, mut other) = (Seen::join(&log).await, Seen::join(&log).await);
    for member in [&mut silent, &mut other] {
        member.poll(&none);
    }
    let poll_other = async {
        // Poll all the time, as a member must.
        loop {
            if let Ok(event) = tokio::time::timeout(Duration::from_secs(5), other.member.next()).await {
                let GroupEvent::Assigned(partitions) = event.unwrap() else { continue };
                other.owned.extend(partitions.into_iter().map(|assigned| (assigned.at, 0)));
            }
            if other.owned.len() == PARTITIONS as usize {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(200), poll_other).await.expect("it gets the other one's share");
    let mine = silent.owned.keys().next().unwrap().clone();
    let late = silent.committer.commit(&[(mine, Commit { next: 1, metadata: String::new() })]).await;
    assert!(matches!(late, Err(CommitError::Fenced)), "{late:?}");
    let lost = silent.member.next().await.unwrap();
    assert!(matches!(&lost, GroupEvent::Lost(partitions) if partitions.len() == silent.owned.len()), "{lost:?}");
    other.owned.clear();
    let revoked = other.member.next().await.unwrap();
    assert!(matches!(revoked, GroupEvent::Revoked(_)), "it shares again: {revoked:?}");
}
