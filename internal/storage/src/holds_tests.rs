//! Many holds, long holds and what passes under them, turn by turn.

use domain::{Event, RULES_NEWEST, RULES_TRIAL};

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
    assert_eq!(scene.held().await, count);

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
    assert_eq!((turns, scene.held().await), (count as u64, count));
}
