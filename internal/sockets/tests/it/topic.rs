//! The topic changes while a node reads it: trimmed, re-created, unreadable, unavailable for a moment.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventlog::{NewRecord, SharedLog, append};
use events::topics::DELIVERIES;
use events::{Delivery, Encoded, HEADER_SCHEMA};
use protocol::CloseCode;
use sockets::Config;

use crate::common::{Doctored, World, append_to, new_log, partition_of_user, quick, user_of};

async fn doctored() -> (Arc<Doctored>, World) {
    let log = Doctored::new(new_log(1).await);
    (log.clone(), World::on(log).await)
}

/// Scenario 10.
#[tokio::test]
async fn when_deliveries_is_created_anew_old_cursors_are_reset_and_never_skip() {
    let (log, world) = doctored().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    for number in 1..=3 {
        world.deliver(&[user], number).await;
    }
    let old = world.end(user).await;
    log.replace(new_log(2).await);
    for number in 1..=9 {
        world.deliver(&[user], number).await;
    }
    let mut device = world.device(&node, user, Some(&old)).await;
    assert_eq!(device.welcome().await, (world.end(user).await, Some("gone".into())));
    world.deliver(&[user], 10).await;
    assert_eq!(device.messages(1).await.0, [10]);
    node.stop().await;
}

/// Scenario 19. The new topic is longer than the old one was, so no offset is out of range; and the reader checks
/// its position because of the error, not because the check interval has passed (issue 10, section 3).
#[tokio::test]
async fn a_topic_created_anew_under_a_running_reader_closes_its_sockets() {
    let (log, world) = doctored().await;
    let node = world.node(Config { position_check: Duration::from_secs(3_600), ..quick() }).await;
    let user = user_of(0, 0);
    let (mut device, _) = world.fresh_device(&node, user).await;
    world.deliver(&[user], 1).await;
    let (_, cursor) = device.messages(1).await;
    let new: SharedLog = new_log(2).await;
    let there = World::on(Arc::clone(&new)).await;
    for number in 1..=9 {
        there.deliver(&[user], number).await;
    }
    log.replace(new);
    assert_eq!(device.closed().await, Some(CloseCode::PositionLost.number()));
    let mut device = world.device(&node, user, cursor.as_ref()).await;
    assert_eq!(device.welcome().await, (world.end(user).await, Some("gone".into())));
    world.deliver(&[user], 10).await;
    assert_eq!(device.messages(1).await.0, [10]);
    node.stop().await;
}

#[tokio::test]
async fn a_broker_away_for_a_moment_closes_nobody_and_loses_nothing() {
    let (log, world) = doctored().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let (mut device, _) = world.fresh_device(&node, user).await;
    for number in 1..=5 {
        log.hiccup();
        world.deliver(&[user], number).await;
        log.hiccup();
    }
    assert_eq!(device.messages(5).await.0, [1, 2, 3, 4, 5]);
    assert_eq!(node.count("socket_reader_places_lost_total"), 0);
    node.stop().await;
}

/// Scenario 19: there is no tick behind the trimmed records.
#[tokio::test]
async fn a_partition_trimmed_empty_under_a_running_reader_is_noticed() {
    let (log, world) = doctored().await;
    let node = world.node(Config { position_check: Duration::from_millis(50), ..quick() }).await;
    let user = user_of(0, 0);
    let (mut device, _) = world.fresh_device(&node, user).await;
    world.deliver(&[user], 1).await;
    let (_, cursor) = device.messages(1).await;
    log.trim(cursor.unwrap().next);
    assert_eq!(device.closed().await, Some(CloseCode::PositionLost.number()));
    // An empty partition has no cursor: the device waits until there is a tick.
    let mut device = world.device(&node, user, cursor.as_ref()).await;
    append_to(&*world.log, DELIVERIES, partition_of_user(user), world.codec.tick()).await;
    assert_eq!(device.welcome().await, (world.end(user).await, Some("gone".into())));
    node.stop().await;
}

#[tokio::test]
async fn a_cursor_whose_predecessor_was_trimmed_is_reset_as_gone() {
    let (log, world) = doctored().await;
    let node = world.node(Config { ring_records_max: 4, ..quick() }).await;
    let user = user_of(0, 0);
    let (_keeps_reading, start) = world.fresh_device(&node, user).await;
    for number in 1..=20 {
        world.deliver(&[user], number).await;
    }
    node.until("socket_reader_records_total", 20).await;
    log.trim(start.next);
    let mut device = world.device(&node, user, Some(&start)).await;
    assert_eq!(device.welcome().await, (world.end(user).await, Some("gone".into())));
    node.stop().await;
}

#[tokio::test]
async fn a_corrupt_delivery_is_passed_over_and_stops_nobody() {
    let (_, world) = doctored().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let (mut device, _) = world.fresh_device(&node, user).await;
    // A record that cannot be decoded, and records of other producers whose frames no client could read.
    let of =
        |frame: &str| world.codec.delivery(&Delivery { recipients: vec![user], event_key: None, frame: frame.into() });
    let Encoded { headers, .. } = of("{}");
    let junk = Encoded { headers, payload: Bytes::from_static(b"\0\0\0\0\x01junk") };
    let unreadable = [
        "{}",
        r#"{"type":"message""#,
        r#"{"type":"message","cursor":"mine"}"#,
        r#"{"type":"message","cursor":null}"#,
        r#"{"type":"error","text":"..."}"#,
        r#"{"type":"welcome","text":"hi"}"#,
    ];
    for corrupt in [junk].into_iter().chain(unreadable.map(of)) {
        append_to(&*world.log, DELIVERIES, partition_of_user(user), corrupt).await;
    }
    world.deliver(&[user], 1).await;
    assert_eq!(device.messages(1).await.0, [1]);
    assert_eq!(node.count("socket_unreadable_records_total{reason=\"corrupt\"}"), 7);
    node.stop().await;
}

/// The record may have been for anybody: passing over it would be a silent gap.
#[tokio::test]
async fn a_delivery_of_an_unknown_schema_makes_devices_sync() {
    let (_, world) = doctored().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let (mut device, start) = world.fresh_device(&node, user).await;
    let mut strange = world.codec.tick();
    for (name, value) in &mut strange.headers {
        if name == HEADER_SCHEMA {
            *value = Bytes::from_static(b"0123456789abcdef");
        }
    }
    append_to(&*world.log, DELIVERIES, partition_of_user(user), strange).await;
    assert_eq!(device.welcome().await, (world.end(user).await, Some("gone".into())));
    world.deliver(&[user], 1).await;
    assert_eq!(device.messages(1).await.0, [1]);
    let mut returning = world.device(&node, user, Some(&start)).await;
    assert_eq!(returning.welcome().await.1.as_deref(), Some("gone"));
    node.stop().await;
}

/// Issue 10, item 5: another producer's record, keyed by one user and of an unknown schema, makes only that user's
/// devices sync. Once it reset every device of the partition.
#[tokio::test]
async fn another_producers_record_of_an_unknown_schema_makes_only_the_user_of_its_key_sync() {
    let (_, world) = doctored().await;
    let node = world.node(quick()).await;
    let (user, neighbour) = (user_of(0, 0), user_of(0, 1));
    let (mut device, start) = world.fresh_device(&node, user).await;
    let (mut other, other_start) = world.fresh_device(&node, neighbour).await;
    let payload = Bytes::from_static(b"\0\0\0\x27\x0fpush");
    for key in [user.to_string(), "nobody".to_owned()] {
        let record = NewRecord { key, partition: Some(0), headers: Vec::new(), payload: payload.clone() };
        append(&*world.log, DELIVERIES, record).await.unwrap();
    }
    assert_eq!(device.welcome().await.1.as_deref(), Some("gone"));
    world.deliver(&[user, neighbour], 1).await;
    assert_eq!((device.messages(1).await.0, other.messages(1).await.0), (vec![1], vec![1]));
    // Only once: a device that has synced since then is not reset again.
    let again = world.end(user).await;
    let mut returning = world.device(&node, user, Some(&again)).await;
    assert_eq!(returning.welcome().await.1, None);
    let mut returning = world.device(&node, user, Some(&start)).await;
    assert_eq!(returning.welcome().await.1.as_deref(), Some("gone"));
    let mut returning = world.device(&node, neighbour, Some(&other_start)).await;
    assert_eq!(returning.welcome().await.1, None, "it passes over what is not its own");
    node.stop().await;
}
