//! A group with one member, and its commits.

use std::collections::BTreeMap;

use super::{Factory, fill, fresh, number, read, with_topic, within};
use crate::{Commit, CommitError, GroupEvent, GroupMember, METADATA_BYTES_MAX, TopicPartition};

pub(super) fn commit(next: u64, metadata: &str) -> Commit {
    Commit { next, metadata: metadata.to_owned() }
}

/// Waits until the member has `count` partitions assigned; returns them with their commits.
pub(super) async fn assigned(member: &mut dyn GroupMember, count: usize) -> BTreeMap<TopicPartition, Option<Commit>> {
    let mut owned = BTreeMap::new();
    while owned.len() < count {
        match within(member.next()).await.expect("the group works") {
            GroupEvent::Assigned(partitions) => {
                for assigned in partitions {
                    assert!(owned.insert(assigned.at, assigned.commit).is_none(), "assigned once");
                }
            }
            other => panic!("only assignments were expected, not {other:?}"),
        }
    }
    owned
}

pub(super) async fn lone_member(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 4).await;
    let other = fresh(factory, "topic");
    log.create(&super::spec(other.clone(), 2)).await.expect("created");
    let group = fresh(factory, "group");
    let mut member = log.join(&group, &[&topic, &other]).await.expect("joined");
    let owned = assigned(member.as_mut(), 6).await;
    let all = (0..4).map(|p| TopicPartition::new(&*topic, p)).chain((0..2).map(|p| TopicPartition::new(&*other, p)));
    let mut all: Vec<_> = all.collect();
    all.sort();
    assert_eq!(owned.keys().cloned().collect::<Vec<_>>(), all);
    assert!(owned.values().all(Option::is_none), "nothing was committed");
    super::not_within(member.next()).await;
}

pub(super) async fn commit_round_trip(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 3).await;
    let group = fresh(factory, "group");
    let at = |partition| TopicPartition::new(&*topic, partition);
    assert_eq!(within(log.committed(&group, &at(0))).await.expect("readable"), None);
    let mut member = log.join(&group, &[&topic]).await.expect("joined");
    assigned(member.as_mut(), 3).await;
    let committer = member.committer();
    let longest = "x".repeat(METADATA_BYTES_MAX);
    let commits = [(at(0), commit(0, "")), (at(2), commit(1 << 41, &longest))];
    within(committer.commit(&commits)).await.expect("committed");
    for (at, commit) in &commits {
        assert_eq!(within(log.committed(&group, at)).await.expect("readable").as_ref(), Some(commit));
    }
    within(committer.commit(&[(at(2), commit(7, "back"))])).await.expect("a commit may go back");
    let too_long = "x".repeat(METADATA_BYTES_MAX + 1);
    let refused = within(committer.commit(&[(at(0), commit(9, &too_long))])).await;
    assert!(matches!(refused, Err(CommitError::Broken(_))), "{refused:?}");
    assert_eq!(within(log.committed(&group, &at(0))).await.expect("readable"), Some(commit(0, "")));
    drop(member);
    let log = factory.reopen(log).await;
    let mut member = log.join(&group, &[&topic]).await.expect("joined");
    let owned = assigned(member.as_mut(), 3).await;
    assert_eq!(owned[&at(0)], Some(commit(0, "")));
    assert_eq!(owned[&at(1)], None);
    assert_eq!(owned[&at(2)], Some(commit(7, "back")));
    let elsewhere = fresh(factory, "group");
    assert_eq!(within(log.committed(&elsewhere, &at(0))).await.expect("readable"), None, "groups are apart");
}

pub(super) async fn redelivery(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    fill(log.as_ref(), &topic, 0, 0..20).await;
    let (group, at) = (fresh(factory, "group"), TopicPartition::new(&*topic, 0));
    let mut member = log.join(&group, &[&topic]).await.expect("joined");
    assert_eq!(assigned(member.as_mut(), 1).await[&at], None);
    let records = read(log.as_ref(), &topic, 0, 0, 15).await;
    let done = commit(10, &format!("{:?}", records[9].fingerprint()));
    within(member.committer().commit(&[(at.clone(), done.clone())])).await.expect("committed");
    // The member dies before it commits five records that it has processed.
    drop(member);
    let other = factory.open().await;
    let mut next = other.join(&group, &[&topic]).await.expect("joined");
    let resumed = assigned(next.as_mut(), 1).await.remove(&at).flatten().expect("there is a commit");
    assert_eq!(resumed, done);
    let before = read(other.as_ref(), &topic, 0, resumed.next - 1, 1).await;
    assert_eq!(resumed.metadata, format!("{:?}", before[0].fingerprint()), "it is the same log");
    let again = read(other.as_ref(), &topic, 0, resumed.next, 10).await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());
}

pub(super) async fn all_or_none(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 2).await;
    let other = fresh(factory, "topic");
    log.create(&super::spec(other.clone(), 1)).await.expect("created");
    let group = fresh(factory, "group");
    let mut member = log.join(&group, &[&topic]).await.expect("joined");
    assigned(member.as_mut(), 2).await;
    let (mine, not_mine) = (TopicPartition::new(&*topic, 0), TopicPartition::new(&*other, 0));
    let refused = within(member.committer().commit(&[(mine.clone(), commit(1, "")), (not_mine, commit(1, ""))])).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    assert_eq!(within(log.committed(&group, &mine)).await.expect("readable"), None);
    within(member.committer().commit(&[(mine, commit(1, ""))])).await.expect("committed");
}

pub(super) async fn left_is_fenced(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    let (group, at) = (fresh(factory, "group"), TopicPartition::new(&*topic, 0));
    let mut member = log.join(&group, &[&topic]).await.expect("joined");
    assigned(member.as_mut(), 1).await;
    let committer = member.committer();
    within(committer.commit(&[(at.clone(), commit(3, "mine"))])).await.expect("committed");
    drop(member);
    let mut next = log.join(&group, &[&topic]).await.expect("joined");
    assert_eq!(assigned(next.as_mut(), 1).await[&at], Some(commit(3, "mine")));
    within(next.committer().commit(&[(at.clone(), commit(5, "next"))])).await.expect("committed");
    let refused = within(committer.commit(&[(at.clone(), commit(4, "late"))])).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    assert_eq!(within(log.committed(&group, &at)).await.expect("readable"), Some(commit(5, "next")));
}
