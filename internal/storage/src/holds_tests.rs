//! Many holds, long holds and what passes under them, turn by turn.

use bytes::Bytes;
use domain::{CommandId, ConversationId, Event, RULES_NEWEST, RULES_TRIAL};
use events::topics::QUARANTINE;
use store::Slot;

use crate::scene::Scene;

#[tokio::test(start_paused = true)]
async fn a_batch_that_names_many_held_conversations_waits_for_none_of_them() {
    let (scene, count) = (Scene::new().await, 300);
    let groups = scene.groups(count + 1);
    let ((free, create_free), held) = groups.split_last().unwrap();
    for (_, create) in held {
        scene.append(&Event { rules: RULES_TRIAL, ..create.clone() }).await;
    }
    scene.append(create_free).await;
    let mut before = scene.partition(RULES_NEWEST).await;
    before.apply(&scene.ahead(&before).await).await.unwrap();
    assert_eq!(scene.held().await.len(), count);

    for (conversation, _) in held {
        scene.append(&scene.message(*conversation)).await;
    }
    let last = scene.append(&scene.message(*free)).await;
    let mut restarted = scene.partition(RULES_NEWEST).await;
    restarted.apply(&scene.ahead(&restarted).await).await.unwrap();
    assert_eq!(restarted.applied, Some(last));
    assert_eq!(restarted.deps.metrics.loads.get(), 1, "the neighbour alone: a slice begins with a load");

    // Each is looked at afterwards, one a turn.
    let mut turns = 0;
    while !restarted.redrives.is_empty() {
        restarted.redrive_on().await.unwrap();
        turns += 1;
        assert_eq!(restarted.deps.metrics.loads.get(), 1 + turns);
    }
    assert_eq!((turns, scene.held().await.len()), (count as u64, count));
}

#[tokio::test(start_paused = true)]
async fn a_long_hold_and_short_ones_take_turns_also_with_those_that_are_listed_later() {
    let (scene, short) = (Scene::new().await, 150);
    let groups = scene.groups(short + 1);
    // The first in the list, and the first to be held.
    let (long, _) = groups[0];
    let mut created = Vec::new();
    for (_, create) in &groups {
        created.push(scene.append(&Event { rules: RULES_TRIAL, ..create.clone() }).await);
    }
    for _ in 0..1_500 {
        scene.append(&scene.message(long)).await;
    }
    let mut before = scene.partition(RULES_NEWEST).await;
    before.apply(&scene.ahead(&before).await).await.unwrap();
    assert_eq!(scene.held().await.len(), short + 1);

    let mut upgraded = scene.partition(RULES_TRIAL).await;
    upgraded.redrive_all();
    let mut turns = 0;
    while scene.held().await.len() > 1 {
        upgraded.redrive_on().await.unwrap();
        turns += 1;
        assert!(turns < 2 * short, "{} are held yet", scene.held().await.len());
    }
    let [(left, hold)] = scene.held().await.try_into().unwrap();
    assert_eq!(left, long, "the others have not waited for it");
    assert!(hold.done_through > created[0].before(), "nor it for them: {hold:?}");
    while !upgraded.redrives.is_empty() {
        upgraded.redrive_on().await.unwrap();
    }
    assert_eq!(scene.held().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_that_passes_under_a_hold_is_in_the_quarantine_once() {
    let scene = Scene::new().await;
    let [(conversation, create)] = scene.groups(1).try_into().unwrap();
    scene.append(&Event { rules: RULES_TRIAL, ..create }).await;
    scene.append_bytes(conversation, scene.codec.tick().headers, Bytes::from_static(b"?")).await;
    let last = scene.append(&scene.message(conversation)).await;
    let mut before = scene.partition(RULES_NEWEST).await;
    before.apply(&scene.ahead(&before).await).await.unwrap();

    let mut upgraded = scene.partition(RULES_TRIAL).await;
    upgraded.redrive_all();
    while !upgraded.redrives.is_empty() {
        upgraded.redrive_on().await.unwrap();
    }
    assert_eq!((scene.held().await.len(), upgraded.applied), (0, Some(last)));
    assert_eq!(before.deps.metrics.corrupt.get(), 1);
    let quarantined = scene.log.watermarks(QUARANTINE, 0).await.unwrap().next - 1;
    assert_eq!(quarantined, 1, "beside the genesis record");
}

#[tokio::test(start_paused = true)]
async fn what_heals_in_a_quiet_partition_does_not_outgrow_the_cache() {
    let scene = Scene::new().await;
    let [(conversation, create)] = scene.groups(1).try_into().unwrap();
    scene.append(&Event { rules: RULES_TRIAL, ..create.clone() }).await;
    let mut before = scene.partition(RULES_NEWEST).await;
    before.apply(&scene.ahead(&before).await).await.unwrap();

    let mut upgraded = scene.partition(RULES_TRIAL).await;
    // As many as it keeps.
    let others: Vec<_> = (0..4096).map(|n| ConversationId::group(create.author, CommandId::first_at(n))).collect();
    for other in &others {
        upgraded.cache.put(*other, Slot::Held);
    }
    upgraded.redrive_all();
    while !upgraded.redrives.is_empty() {
        upgraded.redrive_on().await.unwrap();
    }
    assert!(scene.held().await.is_empty() && upgraded.cache.contains(conversation));
    assert!(!upgraded.cache.contains(others[0]), "the least lately used one makes room");
}
