//! A device that cannot keep up is closed, and its neighbours are not affected.

use std::time::Duration;

use protocol::CloseCode;
use sockets::Config;

use crate::common::{PATIENCE, World, quick, user_of};

const MESSAGES: u64 = 2_500;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_cut_off_and_its_neighbours_are_not() {
    let world = World::new().await;
    let config = Config { ring_records_max: 512, write_wait: Duration::from_millis(500), ..quick() };
    let node = world.node(config).await;
    let users = [user_of(0, 0), user_of(0, 1)];
    let (mut slow, _) = world.fresh_device(&node, users[0]).await;
    let (mut twin, _) = world.fresh_device(&node, users[0]).await;
    let (mut neighbour, _) = world.fresh_device(&node, users[1]).await;
    let all: Vec<u64> = (1..=MESSAGES).collect();
    let read_all = |mut numbers: Vec<u64>, all: &[u64]| {
        numbers.dedup();
        assert_eq!(numbers, all);
    };
    let reading = async {
        read_all(twin.messages(MESSAGES as usize).await.0, &all);
        twin
    };
    let reading_too = async { read_all(neighbour.messages(MESSAGES as usize).await.0, &all) };
    let delivering = async {
        for number in 1..=MESSAGES {
            world.deliver_long(&users, number).await;
        }
    };
    let (_, _twin, ()) = tokio::join!(delivering, reading, reading_too);
    node.until("socket_closes_total{reason=\"slow\"}", 1).await;
    assert_eq!(node.count("sockets_open"), 2);
    // What it reads now is what the network buffers still hold; whether the close code arrives depends on them
    // alone.
    let mut expected = 1;
    let (code, cursor) = loop {
        match slow.hear().await {
            crate::common::Said::Feed(received) => {
                assert_eq!(crate::common::number_of(&received.frame), expected);
                expected += 1;
            }
            crate::common::Said::Closed(code) => break (code, expected),
            other => panic!("{other:?}"),
        }
    };
    assert!(code.is_none_or(|code| code == CloseCode::Slow.number()), "{code:?}");
    assert!(cursor < MESSAGES, "it was cut off before the end");
    node.stop().await;
}

/// Issue 10, item 7: a socket that the ring outruns is not closed: it reads on from the log at its cursor, and its
/// neighbours do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_outrun_goes_on_from_the_log() {
    let world = World::new().await;
    // Far less than the network buffers hold, and than a reconnecting device may have missed.
    let config = Config { ring_records_max: 64, range_records_max: 100, range_bytes_max: 100_000, ..quick() };
    // However long the deliveries take here, the device that reads nothing meanwhile must not count as slow or
    // silent.
    let config = Config { write_wait: PATIENCE * 10, ping: PATIENCE * 10, ..config };
    let node = world.node(config).await;
    let users = [user_of(0, 0), user_of(0, 1)];
    let (mut late, _) = world.fresh_device(&node, users[0]).await;
    let (mut neighbour, _) = world.fresh_device(&node, users[1]).await;
    let all: Vec<u64> = (1..=MESSAGES).collect();
    let delivering = async {
        for number in 1..=MESSAGES {
            world.deliver_long(&users, number).await;
        }
    };
    let (numbers, ()) = tokio::join!(neighbour.messages(MESSAGES as usize), delivering);
    assert_eq!(numbers.0, all, "the neighbour has all of it while the other has taken nothing");
    assert_eq!(late.messages(MESSAGES as usize).await.0, all, "each once, in order, and no reset between");
    // Its socket may notice only now, when it can write again: before, its write waited for the device.
    assert!(node.count("socket_outrun_total") >= 1, "the late one was outrun");
    world.deliver(&users, MESSAGES + 1).await;
    assert_eq!(late.messages(1).await.0, [MESSAGES + 1]);
    assert_eq!(node.count("socket_closes_total"), 0);
    node.stop().await;
}

/// Issue 10, item 7: a burst for many devices, far beyond the ring and the bounds of a reconnecting device.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_for_many_devices_reaches_all_of_them() {
    const DEVICES: usize = 40;
    const BURST: u64 = 600;
    let world = World::new().await;
    let config = Config { ring_records_max: 32, range_records_max: 64, range_bytes_max: 100_000, ..quick() };
    let node = world.node(config).await;
    let users: Vec<_> = (0..DEVICES).map(|index| user_of(0, index)).collect();
    let mut reading = tokio::task::JoinSet::new();
    for user in &users {
        let (mut device, _) = world.fresh_device(&node, *user).await;
        reading.spawn(async move { device.messages(BURST as usize).await.0 });
    }
    for number in 1..=BURST {
        world.deliver(&users, number).await;
    }
    for numbers in reading.join_all().await {
        assert_eq!(numbers, (1..=BURST).collect::<Vec<_>>());
    }
    assert_eq!(node.count("socket_closes_total{reason=\"slow\"}"), 0);
    node.stop().await;
}
