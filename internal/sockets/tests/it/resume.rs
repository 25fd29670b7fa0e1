//! A device resumes at its cursor, from the ring or from the log, or gets a reset with its reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::{Cursor, Fingerprint};
use environment::Entropy;
use protocol::ServerFrame;
use sockets::Config;

use crate::common::{Device, Doctored, Said, World, new_log, quick, user_of};

/// A ring with so few records that a device is soon older than it.
fn small_ring() -> Config {
    Config { ring_records_max: 4, ..quick() }
}

#[tokio::test]
async fn two_devices_of_a_user_see_the_same_order_and_others_see_only_theirs() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let users = [user_of(0, 0), user_of(3, 0)];
    let (mut phone, _) = world.fresh_device(&node, users[0]).await;
    let (mut laptop, _) = world.fresh_device(&node, users[0]).await;
    let (mut other, _) = world.fresh_device(&node, users[1]).await;
    for number in 1..=50 {
        world.deliver(if number % 2 == 0 { &users[..1] } else { &users }, number).await;
    }
    let all: Vec<u64> = (1..=50).collect();
    assert_eq!(phone.messages(50).await.0, all);
    assert_eq!(laptop.messages(50).await.0, all);
    assert_eq!(other.messages(25).await.0, (1..=50).step_by(2).collect::<Vec<_>>());
    node.stop().await;
}

#[tokio::test]
async fn inside_the_ring_a_device_goes_on_from_memory() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let (mut device, _) = world.fresh_device(&node, user).await;
    for number in 1..=10 {
        world.deliver(&[user], number).await;
    }
    let (_, cursor) = device.messages(5).await;
    device.leave().await;
    for number in 11..=15 {
        world.deliver(&[user], number).await;
    }
    let mut device = world.device(&node, user, cursor.as_ref()).await;
    assert_eq!(device.welcome().await, (cursor.unwrap(), None));
    assert_eq!(device.messages(10).await.0, (6..=15).collect::<Vec<_>>());
    assert_eq!(node.count("socket_resumes_total{how=\"ring\"}"), 1);
    node.stop().await;
}

/// The devices of a node that has crashed come to another one, which has not read their partitions so far.
#[tokio::test]
async fn a_node_begins_with_the_last_records_in_its_ring() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let (mut device, _) = world.fresh_device(&node, user).await;
    world.deliver(&[user], 1).await;
    let (_, cursor) = device.messages(1).await;
    device.leave().await;
    node.stop().await;
    for number in 2..=6 {
        world.deliver(&[user], number).await;
    }
    // One record fewer than it takes.
    for (ring_warm_records, how) in [(5, "ring"), (4, "range"), (100, "ring")] {
        let node = world.node(Config { ring_warm_records, ..quick() }).await;
        let mut device = world.device(&node, user, cursor.as_ref()).await;
        assert_eq!(device.welcome().await, (cursor.unwrap(), None));
        assert_eq!(device.messages(5).await.0, (2..=6).collect::<Vec<_>>());
        assert_eq!(node.count(&format!("socket_resumes_total{{how=\"{how}\"}}")), 1, "{ring_warm_records}");
        device.leave().await;
        node.stop().await;
    }
}

#[tokio::test]
async fn behind_the_ring_a_device_goes_on_from_the_log() {
    let world = World::new().await;
    let node = world.node(small_ring()).await;
    let (user, neighbour) = (user_of(0, 0), user_of(0, 1));
    let (device, cursor) = world.fresh_device(&node, user).await;
    device.leave().await;
    let _keeps_reading = world.fresh_device(&node, neighbour).await;
    for number in 1..=400 {
        world.deliver(&[if number % 3 == 0 { user } else { neighbour }], number).await;
    }
    node.until("socket_reader_records_total", 400).await;
    let mut device = world.device(&node, user, Some(&cursor)).await;
    assert_eq!(device.welcome().await, (cursor, None));
    assert_eq!(device.messages(133).await.0, (1..=399).filter(|n| n % 3 == 0).collect::<Vec<_>>());
    world.deliver(&[user], 401).await;
    assert_eq!(device.messages(1).await.0, [401], "it has come to the ring");
    assert_eq!(node.count("socket_resumes_total{how=\"range\"}"), 1);
    node.stop().await;
}

#[tokio::test]
async fn devices_that_come_back_together_share_range_reads() {
    let log = Doctored::new(new_log(1).await);
    let world = World::on(log.clone()).await;
    let node = world.node(small_ring()).await;
    let user = user_of(0, 0);
    let (_keeps_reading, cursor) = world.fresh_device(&node, user_of(0, 1)).await;
    for number in 1..=300 {
        world.deliver(&[user], number).await;
    }
    node.until("socket_reader_records_total", 300).await;
    log.hold_new_readers();
    let mut devices = Vec::new();
    for _ in 0..20 {
        devices.push(world.device(&node, user, Some(&cursor)).await);
    }
    node.until("sockets_open", 21).await;
    log.release();
    for device in &mut devices {
        assert_eq!(device.welcome().await, (cursor, None));
        assert_eq!(device.messages(300).await.0, (1..=300).collect::<Vec<_>>());
    }
    let reads = node.count("socket_range_reads_total");
    assert!(reads <= 3, "{reads} range reads for twenty devices");
    node.stop().await;
}

#[tokio::test]
async fn devices_with_all_sorts_of_cursors_get_exactly_what_they_missed() {
    let world = World::new().await;
    let node = world.node(Config { ring_records_max: 16, sockets_per_user_max: 200, ..quick() }).await;
    let (user, entropy) = (user_of(0, 0), Entropy::seeded(7));
    let (mut first, start) = world.fresh_device(&node, user).await;
    let mut cursors = vec![start];
    for number in 1..=200 {
        world.deliver(&[user], number).await;
        cursors.push(first.messages(1).await.1.unwrap());
    }
    let mut devices = Vec::new();
    for _ in 0..60 {
        let missed_from = entropy.below(201) as usize;
        devices.push((missed_from, world.device(&node, user, Some(&cursors[missed_from])).await));
    }
    world.deliver(&[user], 201).await;
    for (missed_from, device) in &mut devices {
        assert_eq!(device.welcome().await, (cursors[*missed_from], None));
        let missed: Vec<u64> = (*missed_from as u64 + 1..=201).collect();
        assert_eq!(device.messages(missed.len()).await.0, missed);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_cursor_ahead_of_a_lagging_node_waits_and_is_no_reason_for_a_reset() {
    let log = Doctored::new(new_log(1).await);
    let world = World::on(log.clone()).await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let (_keeps_reading, _) = world.fresh_device(&node, user).await;
    log.hold_open_readers();
    for number in 1..=3 {
        world.deliver(&[user], number).await;
    }
    let cursor = world.end(user).await;
    let mut device = world.device(&node, user, Some(&cursor)).await;
    assert_eq!(device.welcome().await, (cursor, None));
    assert_eq!(node.count("socket_resumes_total{how=\"ahead\"}"), 1);
    log.release();
    world.deliver(&[user], 4).await;
    assert_eq!(device.messages(1).await.0, [4], "what it had is not sent again");
    node.stop().await;
}

#[tokio::test]
async fn a_cursor_that_names_another_predecessor_is_reset_as_gone() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    world.deliver(&[user], 1).await;
    let good = world.end(user).await;
    let mut texts = vec!["garbage".to_owned(), String::new()];
    for bad in [
        Cursor { fingerprint: Fingerprint(good.fingerprint.0 ^ 1), ..good },
        Cursor { next: good.next - 1, ..good },
        Cursor { next: good.next + 1, ..good },
        Cursor { next: u64::MAX, ..good },
        Cursor { partition: good.partition + 1, ..good },
        Cursor { generation: good.generation + 1, ..good },
    ] {
        texts.push(bad.to_string());
    }
    for text in texts {
        let mut device = Device::open(node.address, Some(&world.token(user))).await.unwrap();
        device.hello(None, Some(&text)).await;
        assert_eq!(device.welcome().await, (good, Some("gone".to_owned())), "{text}");
        device.leave().await;
    }
    node.stop().await;
}

#[tokio::test]
async fn too_many_records_or_bytes_behind_is_too_far() {
    let world = World::new().await;
    let narrow = world.node(Config { range_records_max: 20, ..small_ring() }).await;
    let thin = world.node(Config { range_bytes_max: 2_000, ..small_ring() }).await;
    let short = world.node(Config { range_scan_records_max: 20, ..small_ring() }).await;
    let light = world.node(Config { range_scan_bytes_max: 2_000, ..small_ring() }).await;
    let nodes = [narrow, thin, short, light];
    let user = user_of(0, 0);
    let (mut reading, mut cursor) = (Vec::new(), None);
    for node in &nodes {
        let (device, begin) = world.fresh_device(node, user).await;
        reading.push(device);
        cursor = Some(begin);
    }
    let cursor = cursor.unwrap();
    for number in 1..=30 {
        world.deliver(&[user], number).await;
    }
    for node in nodes {
        node.until("socket_reader_records_total", 30).await;
        let mut device = world.device(&node, user, Some(&cursor)).await;
        // How large a range is shows only during the range read.
        let (end, reset) = loop {
            match device.hear_news().await {
                Said::Server(ServerFrame::Welcome { cursor, reset: Some(reset), .. }) => break (cursor, reset),
                Said::Server(ServerFrame::Welcome { .. }) | Said::Feed(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((end, reset.as_str()), (world.end(user).await, "too_far"));
        node.stop().await;
    }
}

/// Issue 10, item 4: records for other users of its partition do not count towards the bound of a device that
/// reconnects.
#[tokio::test]
async fn what_is_addressed_to_others_resets_nobody() {
    let world = World::new().await;
    let config = Config { range_records_max: 5, range_bytes_max: 4_000, ring_list_bytes_max: 2_000, ..quick() };
    let node = world.node(config).await;
    let crowd: Vec<_> = (1..60).map(|index| user_of(0, index)).collect();
    let user = user_of(0, 0);
    let (_keeps_reading, cursor) = world.fresh_device(&node, crowd[0]).await;
    world.deliver(&[user], 1).await;
    for number in 2..=100 {
        world.deliver_long(&crowd, number).await;
    }
    world.deliver(&[user], 101).await;
    node.until("socket_reader_records_total", 101).await;
    let mut device = world.device(&node, user, Some(&cursor)).await;
    assert_eq!(device.welcome().await, (cursor, None));
    assert_eq!(device.messages(2).await.0, [1, 101]);
    assert_eq!(node.count("socket_resumes_total{how=\"range\"}"), 1, "the ring has no lists from so long ago");
    world.deliver(&[user], 102).await;
    assert_eq!(device.messages(1).await.0, [102], "it has come to the ring");
    node.stop().await;
}

/// Scenario 11: appends more than the ring holds each time a range read is about to return records, `times` times.
async fn with_laps(times: usize) -> (World, crate::common::Node, Device, Cursor) {
    let log = Doctored::new(new_log(1).await);
    let world = World::on(log.clone()).await;
    let node = world.node(small_ring()).await;
    let user = user_of(0, 0);
    let (keeps_reading, cursor) = world.fresh_device(&node, user).await;
    for number in 1..=10 {
        world.deliver(&[user], number).await;
    }
    node.until("socket_reader_records_total", 10).await;
    let (inner, laps, metrics) = (new_world_on(&world), AtomicUsize::new(0), node.metrics.clone());
    let range_reads = log.opened();
    log.on_read(Arc::new(move |reader| {
        let lap = if reader >= range_reads { laps.fetch_add(1, Ordering::SeqCst) } else { usize::MAX };
        let (inner, metrics) = (Arc::clone(&inner), metrics.clone());
        Box::pin(async move {
            if lap < times {
                let first = 11 + 6 * lap as u64;
                for number in first..first + 6 {
                    inner.deliver(&[user], number).await;
                }
                let read = format!("klatsch_socket_reader_records_total {}", first + 5);
                crate::common::until("the reader has read on", || metrics.text().contains(&read)).await;
            }
        })
    }));
    let device = world.device(&node, user, Some(&cursor)).await;
    keeps_reading.leave().await;
    (world, node, device, cursor)
}

fn new_world_on(world: &World) -> Arc<World> {
    Arc::new(World {
        log: Arc::clone(&world.log),
        store: Arc::clone(&world.store),
        codec: world.codec.clone(),
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
        key: auth::SigningKey::generate(&world.entropy).unwrap(),
        ended: world.ended.clone(),
    })
}

#[tokio::test]
async fn a_ring_that_laps_a_device_during_its_range_read_loses_it_nothing() {
    let (_world, node, mut device, cursor) = with_laps(2).await;
    assert_eq!(device.welcome().await, (cursor, None));
    assert_eq!(device.messages(22).await.0, (1..=22).collect::<Vec<_>>());
    node.stop().await;
}

/// Issue 10, item 7: the node's range reads are behind here, while each moves the cursor: no reason to make the
/// device sync.
#[tokio::test]
async fn a_device_that_is_lapped_again_and_again_is_served_all_the_same() {
    let (_world, node, mut device, cursor) = with_laps(12).await;
    assert_eq!(device.welcome().await, (cursor, None));
    assert_eq!(device.messages(82).await.0, (1..=82).collect::<Vec<_>>());
    node.stop().await;
}

/// Scenario 19: the device has stored nothing, so it gets a reset again, whose cursor is not older than the first.
#[tokio::test]
async fn a_drop_before_the_sync_ends_starts_it_again() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let (device, first) = world.fresh_device(&node, user).await;
    world.deliver(&[user], 1).await;
    device.leave().await;
    node.until("socket_reader_records_total", 1).await;
    let (mut device, second) = world.fresh_device(&node, user).await;
    assert_eq!((second.next, second), (first.next + 1, world.end(user).await));
    world.deliver(&[user], 2).await;
    assert_eq!(device.messages(1).await.0, [2]);
    node.stop().await;
}

#[tokio::test]
async fn the_cursor_of_a_quiet_user_does_not_age() {
    let world = World::new().await;
    // A device that is silent for three of these is closed: a loaded machine needs some time to answer.
    let node = world.node(Config { ping: Duration::from_secs(1), ..quick() }).await;
    let (quiet, busy) = (user_of(0, 0), user_of(0, 1));
    let (mut device, start) = world.fresh_device(&node, quiet).await;
    for number in 1..=10 {
        world.deliver(&[busy], number).await;
    }
    let end = world.end(quiet).await;
    loop {
        match device.hear().await {
            Said::Server(ServerFrame::Ping { cursor }) if cursor == end => break,
            Said::Server(ServerFrame::Ping { cursor }) => assert!(cursor.next >= start.next && cursor.next < end.next),
            other => panic!("{other:?}"),
        }
        device.say(r#"{"type":"pong"}"#).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_partition_is_read_while_it_has_users_and_not_longer() {
    let log = Doctored::new(new_log(1).await);
    let world = World::on(log.clone()).await;
    let node = world.node(Config { reader_idle: Duration::from_millis(50), ..quick() }).await;
    let user = user_of(0, 0);
    let (mut device, _) = world.fresh_device(&node, user).await;
    world.deliver(&[user], 1).await;
    let (_, cursor) = device.messages(1).await;
    device.leave().await;
    node.until("socket_closes_total{reason=\"gone\"}", 1).await;
    crate::common::until("the reader ends", || node.count("socket_ring_records{partition=\"0\"}") == 0).await;
    world.deliver(&[user], 2).await;
    let mut device = world.device(&node, user, cursor.as_ref()).await;
    assert_eq!(device.welcome().await.1, None);
    assert_eq!(device.messages(1).await.0, [2]);
    assert_eq!(node.count("socket_reader_records_total"), 1, "nobody read what came while nobody was there");
    node.stop().await;
}
