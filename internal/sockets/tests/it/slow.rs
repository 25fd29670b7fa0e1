//! A device that cannot keep up is cut off, alone.

use std::time::Duration;

use api::CloseCode;
use sockets::Config;

use crate::common::{World, quick, user_of};

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
    // What it reads now is what the network still holds; whether the code gets through depends on it alone.
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
