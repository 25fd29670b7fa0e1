//! The progress of storage per source partition.

use std::time::Duration;

use domain::Fingerprint;

use crate::conformance::fixture::{Fixture, at, cells, entry_row};
use crate::{Applied, Source};

/// A timeout that a passing test never reaches.
const LONG: Duration = Duration::from_secs(30);

pub(super) fn source(fixture: &Fixture) -> Source {
    Source { topic: "chat.messages", partition: u32::try_from(fixture.below(1 << 30)).unwrap() }
}

fn applied(seq: u64, fingerprint: u64) -> Applied {
    Applied { seq: at(seq), fingerprint: Fingerprint(fingerprint) }
}

pub(super) async fn only_rises(fixture: Fixture) {
    let store = &*fixture.store;
    let messages = source(&fixture);
    let receipts = Source { topic: "chat.receipts", ..messages };
    assert_eq!(store.applied(messages).await.unwrap(), None);
    // Fingerprints use all 64 bits.
    for (set, stands) in [
        (applied(10, u64::MAX), applied(10, u64::MAX)),
        (applied(9, 1), applied(10, u64::MAX)),
        (applied(11, 5), applied(11, 5)),
        (applied(11, 4), applied(11, 5)),
        (applied(11, u64::MAX - 1), applied(11, u64::MAX - 1)),
        (applied(1 << 41, 0), applied(1 << 41, 0)),
    ] {
        store.set_applied(messages, set).await.unwrap();
        assert_eq!(store.applied(messages).await.unwrap(), Some(stands), "after {set:?}");
    }
    assert_eq!(store.applied(receipts).await.unwrap(), None, "each source by itself");
    store.set_applied(receipts, applied(0, 3)).await.unwrap();
    assert_eq!(store.applied(receipts).await.unwrap(), Some(applied(0, 3)), "the first offset counts");
}

pub(super) async fn waits(fixture: Fixture) {
    let (store, source) = (&fixture.store, source(&fixture));
    assert!(!store.wait_applied(source, at(0), Duration::ZERO).await.unwrap(), "asks once");
    assert!(!store.wait_applied(source, at(0), Duration::from_millis(30)).await.unwrap(), "ends at its bound");
    let other = fixture.subject.open().await.unwrap();
    let waiter = |seq, store: crate::SharedStore| {
        tokio::spawn(async move { store.wait_applied(source, at(seq), LONG).await.unwrap() })
    };
    // Waiters on the handle that writes and on another program's handle.
    let waiters = [waiter(0, store.clone()), waiter(5, store.clone()), waiter(7, other.clone())];
    for seq in [0, 4, 6] {
        tokio::task::yield_now().await;
        store.set_applied(source, applied(seq, seq)).await.unwrap();
    }
    assert!(!store.wait_applied(source, at(7), Duration::ZERO).await.unwrap());
    assert!(store.wait_applied(source, at(6), Duration::ZERO).await.unwrap());
    other.set_applied(source, applied(7, 7)).await.unwrap();
    for waiter in waiters {
        assert!(waiter.await.unwrap());
    }
    assert!(store.wait_applied(source, at(3), LONG).await.unwrap(), "what is there already");
}

pub(super) async fn with_rows(fixture: Fixture) {
    let (store, source) = (&*fixture.store, source(&fixture));
    // More than an engine writes at once.
    let conversation = fixture.conversation();
    let rows = || (1..=3000).map(|seq| entry_row(&fixture.message(at(seq), seq - 1, seq))).collect();
    let (other, waited) = (fixture.subject.open().await.unwrap(), at(3000));
    let waiter = tokio::spawn(async move { other.wait_applied(source, waited, LONG).await.unwrap() });
    store.write_and_apply(cells(conversation, rows()), source, applied(3000, 1)).await.unwrap();
    assert!(waiter.await.unwrap());
    assert_eq!(store.applied(source).await.unwrap(), Some(applied(3000, 1)));
    assert_eq!(fixture.rows_of(conversation).await.len(), 3000);
    // Once more, with older progress, and without rows.
    store.write_and_apply(cells(conversation, rows()), source, applied(2000, 1)).await.unwrap();
    store.write_and_apply(Vec::new(), source, applied(2500, 1)).await.unwrap();
    assert_eq!(store.applied(source).await.unwrap(), Some(applied(3000, 1)));
    store.write_and_apply(Vec::new(), source, applied(4000, 1)).await.unwrap();
    assert_eq!(store.applied(source).await.unwrap(), Some(applied(4000, 1)), "progress without rows");
}
