//! Hold rows: monotone cells, which are listed while the conversation is held.

use crate::conformance::fixture::{Fixture, at};
use crate::{Consumer, Dropped, Hold};

fn hold(skipped_to: impl Into<Option<u64>>, done_through: impl Into<Option<u64>>) -> Hold {
    Hold { skipped_to: skipped_to.into().map(at), done_through: done_through.into().map(at) }
}

pub(super) async fn only_rise(fixture: Fixture) {
    let (store, conversation) = (&*fixture.store, fixture.conversation());
    for consumer in Consumer::ALL {
        let steps = [
            // The first write of a hold also says what is done; the very first event has seq 0.
            (hold(0, None), hold(0, None), true),
            (hold(10, 9), hold(10, 9), true),
            (hold(12, None), hold(12, 9), true),
            (hold(11, 8), hold(12, 9), true),
            (hold(None, 11), hold(12, 11), true),
            (hold(None, 12), hold(12, 12), false),
            (hold(None, None), hold(12, 12), false),
            (hold(20, 19), hold(20, 19), true),
        ];
        let partition = u32::try_from(fixture.below(1 << 30)).unwrap();
        assert_eq!(store.hold(consumer, partition, conversation).await.unwrap(), Hold::default());
        for (put, stands, held) in steps {
            store.put_hold(consumer, partition, conversation, put).await.unwrap();
            let read = store.hold(consumer, partition, conversation).await.unwrap();
            assert_eq!((read, read.is_held()), (stands, held), "after {put:?}");
        }
    }
}

pub(super) async fn lists_what_is_held(fixture: Fixture) {
    let store = &*fixture.store;
    let partition = u32::try_from(fixture.below(1 << 30)).unwrap();
    let mut conversations: Vec<_> = (0..40).map(|_| fixture.conversation()).collect();
    conversations.sort();
    let mut held = Vec::new();
    for (number, conversation) in (0..).zip(&conversations) {
        let row = if number % 3 == 0 { hold(number + 5, number + 5) } else { hold(number + 5, number) };
        store.put_hold(Consumer::Storage, partition, *conversation, row).await.unwrap();
        if row.is_held() {
            held.push((*conversation, row));
        }
    }
    // Holds of another partition and of another consumer.
    store.put_hold(Consumer::Storage, partition + 1, conversations[0], hold(9, 1)).await.unwrap();
    store.put_hold(Consumer::Fanout, partition, conversations[1], hold(8, None)).await.unwrap();
    for (consumer, number) in Consumer::ALL.into_iter().skip(2).zip(2..) {
        store.put_hold(consumer, partition, conversations[number], hold(8, None)).await.unwrap();
        let listed = store.holds(consumer, partition, None, 9).await.unwrap();
        assert_eq!(listed, [(conversations[number], hold(8, None))], "{consumer:?}");
    }
    // Listed in the engine's own order; a page can begin after any of them.
    let all = store.holds(Consumer::Storage, partition, None, 100).await.unwrap();
    let mut sorted = all.clone();
    sorted.sort_unstable_by_key(|(conversation, _)| *conversation);
    assert_eq!(sorted, held);
    for (number, (conversation, _)) in all.iter().enumerate() {
        let behind = store.holds(Consumer::Storage, partition, Some(*conversation), 7).await.unwrap();
        assert_eq!(behind, all[number + 1..all.len().min(number + 8)]);
    }
    assert_eq!(store.holds(Consumer::Storage, partition, None, 7).await.unwrap(), all[..7]);
    assert_eq!(store.holds(Consumer::Storage, partition, None, 0).await.unwrap(), []);
    assert_eq!(store.holds(Consumer::Fanout, partition, None, 9).await.unwrap(), [(conversations[1], hold(8, None))]);
    // No longer held, so no longer listed.
    store.put_hold(Consumer::Storage, partition, all[0].0, hold(None, 1000)).await.unwrap();
    assert_eq!(store.holds(Consumer::Storage, partition, None, 100).await.unwrap(), all[1..]);
}

pub(super) async fn drops_stay(fixture: Fixture) {
    let (store, partition) = (&*fixture.store, u32::try_from(fixture.below(1 << 30)).unwrap());
    let dropped = |seq: u64, why: &str, time_ms| Dropped {
        seq: at(seq),
        conversation: fixture.conversation(),
        by: "ann".into(),
        why: why.into(),
        time_ms,
    };
    let (first, second) = (dropped(7, "it's no event \u{1F600}", 1_800_000_000_000), dropped(1 << 41, "", 5));
    assert_eq!(store.drops(partition).await.unwrap(), []);
    for one in [&second, &first, &dropped(7, "again", 1_800_000_000_001), &first] {
        store.put_drop(partition, one).await.unwrap();
    }
    store.put_drop(partition + 1, &dropped(9, "another partition's", 1)).await.unwrap();
    assert_eq!(store.drops(partition).await.unwrap(), [first, second]);
}
