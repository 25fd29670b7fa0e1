//! A group with several members: the owners of partitions during rebalances.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::groups::{assigned, commit};
use super::{Factory, PATIENCE, fresh, with_topic, within};
use crate::{CommitError, GroupEvent, GroupMember, Revocation, TopicPartition};

/// The owner of each partition, by the events that the members have received.
#[derive(Clone)]
struct Ledger {
    owners: Arc<watch::Sender<BTreeMap<TopicPartition, &'static str>>>,
}

/// A running member.
struct Running {
    leave: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.leave.cancel();
        within(self.task).await.expect("the member worked until then");
    }
}

impl Ledger {
    /// Runs the member until it is stopped; then it leaves.
    fn run(&self, name: &'static str, mut member: Box<dyn GroupMember>) -> Running {
        let owners = Arc::clone(&self.owners);
        let leave = CancellationToken::new();
        let left = leave.clone();
        let task = tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    biased;
                    () = left.cancelled() => break,
                    event = member.next() => event.expect("the group works"),
                };
                match event {
                    GroupEvent::Assigned(partitions) => owners.send_modify(|owners| {
                        for assigned in partitions {
                            let before = owners.insert(assigned.at.clone(), name);
                            assert_eq!(before, None, "{} is owned twice", assigned.at);
                        }
                    }),
                    GroupEvent::Revoked(Revocation { partitions, release }) => {
                        owners.send_modify(|owners| {
                            for at in &partitions {
                                assert_eq!(owners.remove(at), Some(name), "only what it has is revoked");
                            }
                        });
                        drop(release);
                    }
                    GroupEvent::Lost(partitions) => panic!("nobody was slow, but {partitions:?} was lost"),
                }
            }
            // Remove its partitions before others can be assigned them.
            owners.send_modify(|owners| owners.retain(|_, owner| *owner != name));
            drop(member);
        });
        Running { leave, task }
    }

    /// Waits until every member has that many partitions.
    async fn settled(&self, counts: &[(&'static str, usize)]) {
        let mut owners = self.owners.subscribe();
        let has = |owners: &BTreeMap<_, _>, name| owners.values().filter(|owner| **owner == name).count();
        let done = owners.wait_for(|owners| counts.iter().all(|(name, count)| has(owners, *name) == *count));
        let settled = tokio::time::timeout(PATIENCE, done).await.map(drop);
        assert!(settled.is_ok(), "{counts:?} wanted, but {:?}", self.owners.borrow());
    }
}

pub(super) async fn shared_once(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 6).await;
    let group = fresh(factory, "group");
    let ledger = Ledger { owners: Arc::new(watch::Sender::new(BTreeMap::new())) };
    let first = ledger.run("first", log.join(&group, &[&topic]).await.expect("joined"));
    ledger.settled(&[("first", 6)]).await;
    let other = factory.open().await;
    let second = ledger.run("second", other.join(&group, &[&topic]).await.expect("joined"));
    ledger.settled(&[("first", 3), ("second", 3)]).await;
    let kept: BTreeSet<_> = owned_by(&ledger, "first");
    let third = ledger.run("third", log.join(&group, &[&topic]).await.expect("joined"));
    ledger.settled(&[("first", 2), ("second", 2), ("third", 2)]).await;
    assert!(owned_by(&ledger, "first").is_subset(&kept), "partitions stay where they are as far as balance allows");
    third.stop().await;
    ledger.settled(&[("first", 3), ("second", 3)]).await;
    first.stop().await;
    ledger.settled(&[("second", 6)]).await;
    second.stop().await;
}

fn owned_by(ledger: &Ledger, name: &str) -> BTreeSet<TopicPartition> {
    let owners = ledger.owners.borrow();
    owners.iter().filter(|(_, owner)| **owner == name).map(|(at, _)| at.clone()).collect()
}

/// Waits for the member's next event, which must be a revocation.
async fn revoked(member: &mut dyn GroupMember) -> Revocation {
    match within(member.next()).await.expect("the group works") {
        GroupEvent::Revoked(revocation) => revocation,
        other => panic!("a revocation was expected, not {other:?}"),
    }
}

pub(super) async fn commit_before_release(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 4).await;
    let group = fresh(factory, "group");
    let mut first = log.join(&group, &[&topic]).await.expect("joined");
    assigned(first.as_mut(), 4).await;
    let other = factory.open().await;
    let mut second = other.join(&group, &[&topic]).await.expect("joined");
    let committer = first.committer();
    let first = async {
        let Revocation { partitions, release } = revoked(first.as_mut()).await;
        assert_eq!(partitions.len(), 2, "two of four move");
        let commits: Vec<_> = partitions
            .iter()
            .map(|at| (at.clone(), commit(100 + u64::from(at.partition), &format!("{at} is done"))))
            .collect();
        within(committer.commit(&commits)).await.expect("commits count until the release");
        release.send(()).expect("somebody waits for it");
        let commits = commits.into_iter().collect::<BTreeMap<_, _>>();
        // The member must keep polling, so that the group makes progress.
        super::not_within(first.next()).await;
        (first, commits)
    };
    let ((_first, commits), given) = tokio::join!(first, assigned(second.as_mut(), 2));
    let expected: BTreeMap<_, _> = commits.into_iter().map(|(at, commit)| (at, Some(commit))).collect();
    assert_eq!(given, expected, "the next owner begins where the last one ended");
    let late = expected.keys().next().expect("two of them").clone();
    let refused = within(committer.commit(&[(late, commit(1, "late"))])).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
}

pub(super) async fn zombie(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 2).await;
    let group = fresh(factory, "group");
    let mut first = log.join(&group, &[&topic]).await.expect("joined");
    assigned(first.as_mut(), 2).await;
    let other = factory.open().await;
    let mut second = other.join(&group, &[&topic]).await.expect("joined");
    let committer = first.committer();
    let first = async {
        let Revocation { partitions, release } = revoked(first.as_mut()).await;
        let lost = match within(first.next()).await.expect("the group works") {
            GroupEvent::Lost(lost) => lost,
            other => panic!("the loss was expected, not {other:?}"),
        };
        assert_eq!(lost, partitions, "what it does not release it loses");
        drop(release);
        super::not_within(first.next()).await;
        (first, partitions)
    };
    let ((mut first, lost), given) = tokio::join!(first, assigned(second.as_mut(), 1));
    let at = lost[0].clone();
    assert_eq!(given.into_keys().collect::<Vec<_>>(), lost);
    within(second.committer().commit(&[(at.clone(), commit(8, "second"))])).await.expect("the new owner commits");
    let refused = within(committer.commit(&[(at.clone(), commit(5, "first, late"))])).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    assert_eq!(within(log.committed(&group, &at)).await.expect("readable"), Some(commit(8, "second")));
    let kept = TopicPartition::new(&*topic, 1 - at.partition);
    within(committer.commit(&[(kept, commit(2, "kept"))])).await.expect("it is still a member");
    super::not_within(first.next()).await;
}
