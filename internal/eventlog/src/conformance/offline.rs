//! Commits by operators, for a group without members.

use super::groups::{assigned, commit};
use super::{Factory, fresh, with_topic, within};
use crate::{LogError, TopicPartition};

pub(super) async fn commits(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 2).await;
    let group = fresh(factory, "group");
    let at = |partition| TopicPartition::new(&*topic, partition);
    let commits = [(at(0), commit(0, "")), (at(1), commit(12, "set by hand"))];
    within(log.commit_offline(&group, &commits)).await.expect("nobody is in the group");
    for (at, commit) in &commits {
        assert_eq!(within(log.committed(&group, at)).await.expect("readable").as_ref(), Some(commit));
    }
    let mut member = log.join(&group, &[&topic]).await.expect("joined");
    let owned = assigned(member.as_mut(), 2).await;
    assert_eq!(owned[&at(1)], Some(commit(12, "set by hand")));
}

pub(super) async fn refused(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    let (group, at) = (fresh(factory, "group"), TopicPartition::new(&*topic, 0));
    let mut member = log.join(&group, &[&topic]).await.expect("joined");
    assigned(member.as_mut(), 1).await;
    let other = factory.open().await;
    let refused = within(other.commit_offline(&group, &[(at.clone(), commit(9, ""))])).await;
    assert!(matches!(refused, Err(LogError::Broken(_))), "{refused:?}");
    assert_eq!(within(log.committed(&group, &at)).await.expect("readable"), None);
}
