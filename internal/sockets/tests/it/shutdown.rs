//! Shutdown of a node: no frame or answer is lost, devices are moved over a window of time, and it ends in time.

use std::time::Duration;

use events::topics::MESSAGES;
use protocol::{CloseCode, ServerFrame};
use sockets::Config;
use tokio::time::Instant;

use crate::common::{Device, Said, World, number_of, partition_of_user, quick, user_of};

#[tokio::test]
async fn stopping_with_frames_queued_loses_nothing() {
    let world = World::new().await;
    let (here, elsewhere) = (world.node(quick()).await, world.node(quick()).await);
    let user = user_of(0, 0);
    let (mut device, start) = world.fresh_device(&here, user).await;
    for number in 1..=500 {
        world.deliver(&[user], number).await;
    }
    here.ask_to_stop();
    let (mut numbers, mut cursor) = (Vec::new(), start);
    loop {
        match device.hear().await {
            Said::Feed(received) => {
                numbers.push(number_of(&received.frame));
                cursor = received.cursor;
            }
            Said::Closed(code) => break assert_eq!(code, Some(CloseCode::Draining.number())),
            Said::Server(ServerFrame::Ping { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    here.ended().await;
    let mut device = world.device(&elsewhere, user, Some(&cursor)).await;
    assert_eq!(device.welcome().await, (cursor, None));
    numbers.extend(device.messages(500 - numbers.len()).await.0);
    assert_eq!(numbers, (1..=500).collect::<Vec<_>>());
    elsewhere.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_is_unready_and_sees_its_devices_off_one_by_one() {
    let world = World::new().await;
    let node = world.node(Config { drain_window: Duration::from_secs(1), ..quick() }).await;
    let mut devices = Vec::new();
    for index in 0..20 {
        devices.push(world.fresh_device(&node, user_of(0, index)).await.0);
    }
    let mut says_nothing = Device::open(node.address, Some(&world.token(user_of(0, 0)))).await.unwrap();
    let begun = Instant::now();
    node.ask_to_stop();
    assert_eq!(says_nothing.closed().await, Some(CloseCode::Draining.number()));
    assert!(!node.readiness.is_ready());
    assert!(Device::open(node.address, Some(&world.token(user_of(0, 0)))).await.is_err(), "nobody new is let in");
    let waiting = devices.into_iter().map(|mut device| async move {
        assert_eq!(device.closed().await, Some(CloseCode::Draining.number()));
        begun.elapsed()
    });
    let mut times = futures_util::future::join_all(waiting).await;
    times.sort();
    assert!(times[19] - times[0] > Duration::from_millis(200), "not all at once: {times:?}");
    node.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn what_was_taken_is_answered_before_the_socket_closes() {
    let world = World::new().await;
    let node = world.node(Config { burst: 1000, drain_window: Duration::from_millis(20), ..quick() }).await;
    let user = user_of(0, 0);
    let (mut device, _) = world.fresh_device(&node, user).await;
    for number in 0..20 {
        device.say(&crate::commands::send(number)).await;
    }
    node.ask_to_stop();
    let mut acks = 0;
    loop {
        match device.hear().await {
            Said::Server(ServerFrame::Ack { .. }) => acks += 1,
            Said::Closed(code) => break assert_eq!(code, Some(CloseCode::Draining.number())),
            other => panic!("{other:?}"),
        }
    }
    node.ended().await;
    assert_eq!(world.records(MESSAGES).await - 12, acks, "in the log and acknowledged (and twelve genesis records)");
    assert!(partition_of_user(user) == 0);
}
