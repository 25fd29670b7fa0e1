//! Many holds, long holds, and records that are skipped under them, turn by turn.

use bytes::Bytes;
use domain::{CommandId, ConversationId, Event, RULES_NEWEST, RULES_TRIAL};
use events::topics::QUARANTINE;
use store::CacheEntry;

use crate::fixture::Fixture;

#[tokio::test(start_paused = true)]
async fn a_batch_that_names_many_held_conversations_waits_for_none_of_them() {
    let (fixture, count) = (Fixture::new().await, 300);
    let groups = fixture.groups(count + 1);
    let ((free, create_free), held) = groups.split_last().unwrap();
    for (_, create) in held {
        fixture.append(&Event { rules: RULES_TRIAL, ..create.clone() }).await;
    }
    fixture.append(create_free).await;
    let mut before = fixture.partition(RULES_NEWEST).await;
    before.apply(&fixture.ahead(&before).await).await.unwrap();
    assert_eq!(fixture.held().await.len(), count);

    for (conversation, _) in held {
        fixture.append(&fixture.message(*conversation)).await;
    }
    let last = fixture.append(&fixture.message(*free)).await;
    let mut restarted = fixture.partition(RULES_NEWEST).await;
    restarted.apply(&fixture.ahead(&restarted).await).await.unwrap();
    assert_eq!(restarted.applied, Some(last));
    assert_eq!(restarted.deps.metrics.loads.get(), 1, "the neighbour alone: a slice begins with a load");

    // Each is driven again afterwards, one per turn.
    let mut turns = 0;
    while !restarted.redrives.is_empty() {
        restarted.redrive_on().await.unwrap();
        turns += 1;
        assert_eq!(restarted.deps.metrics.loads.get(), 1 + turns);
    }
    assert_eq!((turns, fixture.held().await.len()), (count as u64, count));
}

#[tokio::test(start_paused = true)]
async fn a_long_hold_and_short_ones_take_turns_also_with_those_that_are_listed_later() {
    let (fixture, short) = (Fixture::new().await, 150);
    let groups = fixture.groups(short + 1);
    // The first in the list, and the first to be held.
    let (long, _) = groups[0];
    let mut created = Vec::new();
    for (_, create) in &groups {
        created.push(fixture.append(&Event { rules: RULES_TRIAL, ..create.clone() }).await);
    }
    for _ in 0..1_500 {
        fixture.append(&fixture.message(long)).await;
    }
    let mut before = fixture.partition(RULES_NEWEST).await;
    before.apply(&fixture.ahead(&before).await).await.unwrap();
    assert_eq!(fixture.held().await.len(), short + 1);

    let mut upgraded = fixture.partition(RULES_TRIAL).await;
    upgraded.redrive_all();
    let mut turns = 0;
    while fixture.held().await.len() > 1 {
        upgraded.redrive_on().await.unwrap();
        turns += 1;
        assert!(turns < 2 * short, "{} are held yet", fixture.held().await.len());
    }
    let [(left, hold)] = fixture.held().await.try_into().unwrap();
    assert_eq!(left, long, "the others have not waited for it");
    assert!(hold.done_through > created[0].before(), "nor it for them: {hold:?}");
    while !upgraded.redrives.is_empty() {
        upgraded.redrive_on().await.unwrap();
    }
    assert_eq!(fixture.held().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_that_passes_under_a_hold_is_in_the_quarantine_once() {
    let fixture = Fixture::new().await;
    let [(conversation, create)] = fixture.groups(1).try_into().unwrap();
    fixture.append(&Event { rules: RULES_TRIAL, ..create }).await;
    fixture.append_bytes(conversation, fixture.codec.tick().headers, Bytes::from_static(b"?")).await;
    let last = fixture.append(&fixture.message(conversation)).await;
    let mut before = fixture.partition(RULES_NEWEST).await;
    before.apply(&fixture.ahead(&before).await).await.unwrap();

    let mut upgraded = fixture.partition(RULES_TRIAL).await;
    upgraded.redrive_all();
    while !upgraded.redrives.is_empty() {
        upgraded.redrive_on().await.unwrap();
    }
    assert_eq!((fixture.held().await.len(), upgraded.applied), (0, Some(last)));
    assert_eq!(before.deps.metrics.corrupt.get(), 1);
    let quarantined = fixture.log.watermarks(QUARANTINE, 0).await.unwrap().next - 1;
    assert_eq!(quarantined, 1, "beside the genesis record");
}

#[tokio::test(start_paused = true)]
async fn what_heals_in_a_quiet_partition_does_not_outgrow_the_cache() {
    let fixture = Fixture::new().await;
    let [(conversation, create)] = fixture.groups(1).try_into().unwrap();
    fixture.append(&Event { rules: RULES_TRIAL, ..create.clone() }).await;
    let mut before = fixture.partition(RULES_NEWEST).await;
    before.apply(&fixture.ahead(&before).await).await.unwrap();

    let mut upgraded = fixture.partition(RULES_TRIAL).await;
    // As many as memory keeps.
    let others: Vec<_> = (0..4096).map(|n| ConversationId::group(create.author, CommandId::first_at(n))).collect();
    for other in &others {
        upgraded.cache.put(*other, CacheEntry::Held);
    }
    upgraded.redrive_all();
    while !upgraded.redrives.is_empty() {
        upgraded.redrive_on().await.unwrap();
    }
    assert!(fixture.held().await.is_empty() && upgraded.cache.contains(conversation));
    assert!(!upgraded.cache.contains(others[0]), "the least lately used one makes room");
}
