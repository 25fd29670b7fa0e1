//! Several frames in one websocket message, for devices that accept batches.

use domain::Cursor;
use protocol::{FeedFrame, ServerFrame};
use serde_json::json;

use crate::common::{Device, Node, Said, World, number_of, quick, user_of};

/// A device that accepts batches and has resumed at the cursor.
async fn batched(world: &World, node: &Node, cursor: &Cursor) -> Device {
    let mut device = Device::open(node.address, Some(&world.token(user_of(0, 0)))).await.unwrap();
    device.say(&json!({ "type": "hello", "cursor": cursor.to_string(), "batch": true }).to_string()).await;
    assert_eq!(device.welcome().await, (*cursor, None));
    device
}

/// The numbers of the messages in the next websocket message, and the cursor behind them.
async fn text(device: &mut Device) -> (Vec<u64>, Cursor) {
    match device.hear_news().await {
        Said::Feed(received) => (vec![number_of(&received.frame)], received.cursor),
        Said::Server(ServerFrame::Batch { cursor, frames }) => {
            let frames = frames.into_iter().map(|frame| serde_json::from_value::<FeedFrame>(frame.0).unwrap());
            (frames.map(|frame| number_of(&frame)).collect(), cursor)
        }
        other => panic!("not of the feed: {other:?}"),
    }
}

#[tokio::test]
async fn a_device_that_takes_batches_gets_the_same_frames_in_fewer_texts() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (device, cursor) = world.fresh_device(&node, user_of(0, 0)).await;
    device.leave().await;
    for number in 1..=300 {
        world.deliver(&[user_of(0, 0)], number).await;
    }
    let mut plain = world.device(&node, user_of(0, 0), Some(&cursor)).await;
    assert_eq!(plain.welcome().await, (cursor, None));
    let (all, end) = plain.messages(300).await;
    let mut device = batched(&world, &node, &cursor).await;
    let (mut numbers, mut texts, mut cursors) = (Vec::new(), 0, Vec::new());
    while numbers.len() < 300 {
        let (some, behind) = text(&mut device).await;
        numbers.extend(some);
        cursors.push((numbers.len(), behind));
        texts += 1;
    }
    assert_eq!((numbers, Some(cursors[cursors.len() - 1].1)), (all, end));
    assert!(texts < 100, "{texts} texts");
    // Each cursor is that of the last frame before it: a device that resumes there misses and repeats nothing.
    for (count, cursor) in cursors.into_iter().rev().skip(1).step_by(2) {
        let mut device = batched(&world, &node, &cursor).await;
        assert_eq!(text(&mut device).await.0[0], count as u64 + 1);
        device.leave().await;
    }
    node.stop().await;
}

#[tokio::test]
async fn who_says_that_it_takes_none_gets_none() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (device, cursor) = world.fresh_device(&node, user_of(0, 0)).await;
    device.leave().await;
    for number in 1..=10 {
        world.deliver(&[user_of(0, 0)], number).await;
    }
    let mut device = Device::open(node.address, Some(&world.token(user_of(0, 0)))).await.unwrap();
    device.say(&json!({ "type": "hello", "cursor": cursor.to_string(), "batch": false }).to_string()).await;
    assert_eq!(device.welcome().await, (cursor, None));
    assert_eq!(device.messages(10).await.0, (1..=10).collect::<Vec<_>>());
    node.stop().await;
}
