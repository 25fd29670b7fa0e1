//! Incarnations side by side: building, switching, switching back, dropping, and following a switch.

use std::sync::Arc;
use std::time::Duration;

use domain::Fingerprint;
use events::topics::MESSAGES;

use crate::conformance::fixture::{Fixture, all_rows, at, mark};
use crate::conformance::generated::GeneratedConversation;
use crate::conformance::progress::source;
use crate::{Applied, Beside, ChatStore, Following, Mark, SharedStore, Source, Stage, StoreAdmin as _, StoreError};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

async fn write_generated(store: &SharedStore, generated: &GeneratedConversation) {
    for step in &generated.steps {
        store.write(step.writes.clone()).await.unwrap();
    }
}

async fn applied(store: &SharedStore, source: Source, offset: u64) {
    let applied = Applied { seq: at(offset), fingerprint: Fingerprint(offset) };
    store.set_applied(source, applied).await.unwrap();
}

pub(super) async fn built_and_switched(fixture: Fixture) {
    let served = fixture.subject.open().await.unwrap();
    let (generated, source) = (GeneratedConversation::new(&fixture, 40), source(&fixture));
    write_generated(&served, &generated).await;
    applied(&served, source, 7).await;
    let before = all_rows(&*served).await;

    assert_eq!(served.make_incarnation().await.unwrap(), 2);
    let there = served.incarnations().await.unwrap();
    assert_eq!((there.current, &there.beside[..]), (1, &[Beside { number: 2, stage: Stage::Building }][..]));
    let beside = served.at(2).await.unwrap();
    assert_eq!((beside.incarnation(), beside.current_incarnation().await.unwrap()), (2, 1));
    assert_eq!((all_rows(&*beside).await, beside.applied(source).await.unwrap()), (Vec::new(), None));
    write_generated(&beside, &generated).await;
    applied(&beside, source, 7).await;
    assert!(beside.wait_applied(source, at(7), LONG).await.unwrap(), "not being current ends no wait beside");
    assert!(!beside.wait_applied(source, at(8), SHORT).await.unwrap());
    assert_eq!(all_rows(&*beside).await, before);
    assert_eq!(all_rows(&*served).await, before, "what is served is untouched");

    assert!(served.switch_incarnation(1, 2).await.unwrap());
    let there = served.incarnations().await.unwrap();
    assert_eq!((there.current, &there.beside[..]), (2, &[Beside { number: 1, stage: Stage::Served }][..]));
    let left = served.wait_applied(source, at(9), LONG).await;
    assert!(matches!(left, Err(StoreError::Incarnation { pinned: 1, found: 2 })), "{left:?}");
    assert_eq!(all_rows(&*served).await, before, "a read that began before finishes on its rows");

    // Storage continues on the new rows; switching back returns to the old rows as they were left.
    let new = fixture.subject.open().await.unwrap();
    assert_eq!(new.incarnation(), 2);
    applied(&new, source, 8).await;
    let old = new.at(1).await.unwrap();
    assert_eq!(old.applied(source).await.unwrap().map(|applied| applied.seq), Some(at(7)));
    applied(&old, source, 8).await;
    assert!(new.switch_incarnation(2, 1).await.unwrap());
    let back = fixture.subject.open().await.unwrap();
    assert_eq!((back.incarnation(), all_rows(&*back).await), (1, before));
    let there = back.incarnations().await.unwrap();
    assert_eq!(there.beside, [Beside { number: 2, stage: Stage::Served }], "it was current, so it is no rebuild");
}

pub(super) async fn one_switch_wins(fixture: Fixture) {
    let store = fixture.subject.open().await.unwrap();
    assert_eq!(store.make_incarnation().await.unwrap(), 2);
    assert_eq!(store.make_incarnation().await.unwrap(), 3);
    let (one, other) = tokio::join!(store.switch_incarnation(1, 2), store.switch_incarnation(1, 3));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one != other, "{one} {other}");
    assert_eq!(store.current_incarnation().await.unwrap(), if one { 2 } else { 3 });
    assert!(!store.switch_incarnation(1, 2).await.unwrap(), "it is not at 1 any more");
    assert!(store.switch_incarnation(1, 9).await.is_err(), "there is none");
}

pub(super) async fn dropped(fixture: Fixture) {
    let store = fixture.subject.open().await.unwrap();
    assert_eq!(store.make_incarnation().await.unwrap(), 2);
    assert!(store.drop_incarnation(1).await.is_err(), "the current one");
    store.drop_incarnation(2).await.unwrap();
    assert_eq!(store.incarnations().await.unwrap().beside, []);
    assert!(store.at(2).await.is_err());
    assert!(store.switch_incarnation(1, 2).await.is_err());
    assert_eq!(store.make_incarnation().await.unwrap(), 3);
    assert_eq!(all_rows(&*store.at(3).await.unwrap()).await, []);
}

pub(super) async fn follows(fixture: Fixture) {
    let root = fixture.subject.open().await.unwrap();
    let generated = GeneratedConversation::new(&fixture, 10);
    let [source, other] = [3, 4].map(|partition| Source { topic: MESSAGES, partition });
    write_generated(&root, &generated).await;
    applied(&root, source, 5).await;
    applied(&root, other, 3).await;
    let following = Following::new(Arc::clone(&root));
    assert!(following.wait_applied(source, at(5), LONG).await.unwrap());
    let rows = all_rows(&*following).await;

    let beside = root.at(root.make_incarnation().await.unwrap()).await.unwrap();
    applied(&beside, source, 4).await;
    assert!(root.switch_incarnation(1, 2).await.unwrap());
    // Storage lags in the new incarnation: reads still use the old one, and a wait for more ends without success.
    assert!(!following.wait_applied(source, at(6), SHORT).await.unwrap());
    assert_eq!((following.incarnation(), all_rows(&*following).await), (1, rows.clone()));
    let waiting = tokio::spawn({
        let following = Arc::clone(&following);
        async move { following.wait_applied(source, at(6), LONG).await }
    });
    applied(&beside, source, 6).await;
    assert!(!following.wait_applied(source, at(6), SHORT).await.unwrap(), "another partition is behind");
    applied(&beside, other, 3).await;
    assert!(waiting.await.unwrap().unwrap(), "the same wait goes on there");
    assert_eq!(following.incarnation(), 2);
    assert_eq!(all_rows(&*following).await, []);
    let mark = mark(fixture.user(), generated.conversation, Mark { seq: at(1), ordinal: 0 });
    following.write(mark).await.unwrap();
    assert_eq!(all_rows(&*beside).await.len(), 1);
    assert_eq!(following.current_incarnation().await.unwrap(), 2);
    following.close().await;
    assert!(matches!(root.ping().await, Err(StoreError::Closed)));
}
