//! Who is let in, where, and how fast.

use std::time::Duration;

use domain::Cursor;
use futures_util::{SinkExt, StreamExt};
use process::serve::PerAddress;
use protocol::{CloseCode, ServerFrame};
use sockets::{Config, SIGNS_BURST};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::common::{Device, Node, Said, World, partition_of_user, quick, user_of};

#[tokio::test]
async fn when_too_many_come_at_once_they_are_told_when_to_come_again() {
    let world = World::new().await;
    let node = world.node(Config { welcomes_per_second: 1, ..quick() }).await;
    let (mut first, cursor) = world.fresh_device(&node, user_of(0, 0)).await;
    // Ten can wait for ten seconds in all. Each that comes takes a place until it is welcomed, one in a second.
    let mut waiting = Vec::new();
    let refusal = loop {
        assert!(waiting.len() < 1_000, "nobody is turned away");
        match Device::open(node.address, Some(&world.token(user_of(0, waiting.len() + 1)))).await {
            Ok(mut device) => {
                device.hello(None, Some(&cursor.to_string())).await;
                waiting.push(device);
            }
            Err(refusal) => break refusal,
        }
    };
    let Error::Http(refusal) = *refusal else { panic!("{refusal}") };
    assert_eq!(refusal.status(), 429);
    let after: u32 = refusal.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((5..=15).contains(&after), "{after}");
    assert!(node.count("socket_turned_away_total{reason=\"crowded\"}") >= 1 && node.count("sockets_waiting") >= 1);
    // Those who wait are welcomed, and who is connected notices nothing.
    assert_eq!(waiting[0].welcome().await, (cursor, None));
    world.deliver(&[user_of(0, 0)], 1).await;
    assert_eq!(first.messages(1).await.0, [1]);
    node.ask_to_stop();
    assert_eq!(waiting.pop().unwrap().closed().await, Some(CloseCode::Draining.number()), "it does not wait any more");
    node.ended().await;
}

/// After a crash more devices come than can wait, and none of them waits for long: without care, the queue is full of those
/// that have gone.
#[tokio::test]
async fn devices_that_give_up_and_come_again_take_no_turn_from_those_that_are_there() {
    const WELCOMES: usize = 5;
    let world = World::new().await;
    let node = world.node(Config { welcomes_per_second: 1, ..quick() }).await;
    let (welcomed, mut welcomes) = mpsc::unbounded_channel();
    let mut devices = JoinSet::new();
    let begun = Instant::now();
    for index in 0..14 {
        let (address, token, welcomed) = (node.address, world.token(user_of(0, index)), welcomed.clone());
        devices.spawn(async move {
            for round in index.. {
                let Ok(mut device) = Device::open(address, Some(&token)).await else {
                    sleep(Duration::from_millis(100)).await;
                    continue;
                };
                device.hello(None, None).await;
                let said = timeout(Duration::from_secs(2), device.hear_news()).await;
                if matches!(said, Ok(Said::Server(ServerFrame::Welcome { .. }))) {
                    let _ = welcomed.send(());
                }
                // Some say goodbye, of others only the connection ends.
                if round % 2 == 0 {
                    device.leave().await;
                }
            }
        });
    }
    for _ in 0..WELCOMES {
        timeout(Duration::from_secs(30), welcomes.recv()).await.expect("somebody is welcomed").unwrap();
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(9), "one in each second, but it took {took:?}");
    devices.shutdown().await;
    node.until_at_most("sockets_waiting", 0).await;
    node.stop().await;
}

/// Any text in the place of the cursor does not put a device in front of those that come back.
#[tokio::test]
async fn only_a_cursor_that_may_be_good_is_preferred() {
    let world = World::new().await;
    let node = world.node(Config { welcomes_per_second: 1, ..quick() }).await;
    let (_first, cursor) = world.fresh_device(&node, user_of(0, 0)).await;
    let (welcomed, mut welcomes) = mpsc::unbounded_channel();
    let elsewhere = Cursor { partition: cursor.partition + 1, ..cursor }.to_string();
    let brought = ["x".to_owned(), elsewhere, "0.0.1.0000000000000000".to_owned(), "x".to_owned(), cursor.to_string()];
    let mut devices = JoinSet::new();
    for (index, text) in brought.into_iter().enumerate() {
        let mut device = Device::open(node.address, Some(&world.token(user_of(0, 1 + index)))).await.unwrap();
        device.hello(None, Some(&text)).await;
        let welcomed = welcomed.clone();
        devices.spawn(async move {
            let (_, reset) = device.welcome().await;
            let _ = welcomed.send(reset);
            device
        });
    }
    let mut resets = Vec::new();
    while resets.len() < 5 {
        resets.extend(welcomes.recv().await);
    }
    assert!(resets[..4].contains(&None), "the one that comes back is not the last: {resets:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_device_that_waits_is_listened_to_and_nothing_that_it_says_is_lost() {
    let world = World::new().await;
    let node = world.node(Config { welcomes_per_second: 1, ..quick() }).await;
    let _first = world.fresh_device(&node, user_of(0, 0)).await;
    let mut before = Vec::new();
    for index in 1..=7 {
        before.push(world.device(&node, user_of(0, index), None).await);
    }
    let mut device = world.device(&node, user_of(0, 8), None).await;
    for text in [r#"{"type":"typing"}"#, r#"{"type":"mark"}"#, "no frame"] {
        device.say(text).await;
    }
    device.socket.send(Message::Ping("alive?".into())).await.unwrap();
    match timeout(Duration::from_secs(30), device.socket.next()).await.expect("an answer").unwrap().unwrap() {
        Message::Pong(payload) => assert_eq!(payload, "alive?"),
        other => panic!("not a pong: {other:?}"),
    }
    let mut noisy = before.pop().unwrap();
    for _ in 0..=SIGNS_BURST + 10 {
        // It may be closed already.
        let _ = noisy.socket.send(Message::Ping("alive?".into())).await;
    }
    assert_eq!(noisy.closed().await, Some(CloseCode::Protocol.number()));
    let mut polite = before.pop().unwrap();
    polite.socket.close(None).await.unwrap();
    polite.closed().await;
    drop(before); // without a close frame
    device.welcome().await;
    for what in ["conversation", "conversation", "expected"] {
        match device.hear_news().await {
            Said::Server(ServerFrame::Error { message, .. }) => assert!(message.contains(what), "{message}"),
            other => panic!("not an error: {other:?}"),
        }
    }
    node.until_at_most("sockets_waiting", 0).await;
    node.stop().await;
}

#[tokio::test]
async fn a_device_that_did_not_name_its_partition_is_asked_to_move_and_no_other() {
    let world = World::new().await;
    let routed = world.node(Config { routed_by_partition: true, ..quick() }).await;
    let (user, partition) = (user_of(3, 0), partition_of_user(user_of(3, 0)));
    for (path, asked) in [
        ("/v1/socket".to_owned(), Some(true)),
        ("/v1/socket?p=".to_owned(), Some(true)),
        ("/v1/socket?p=three".to_owned(), Some(true)),
        (format!("/v1/socket?p={}", partition + 1), Some(true)),
        (format!("/v1/socket?p={partition}"), None),
        (format!("/v1/socket?v=1&p={partition}"), None),
    ] {
        assert_eq!(asked_to_move(&world, &routed, user, &path).await, asked, "{path}");
    }
    assert_eq!(routed.count("socket_moves_total"), 4);
    let plain = world.node(quick()).await;
    assert_eq!(asked_to_move(&world, &plain, user, "/v1/socket").await, None, "there is no balancer that routes");
    routed.stop().await;
    plain.stop().await;
}

/// Otherwise most devices stay with the node that was restarted first.
#[tokio::test]
async fn behind_a_balancer_that_routes_devices_are_led_anew_now_and_then_and_go_on() {
    let world = World::new().await;
    let config = Config { rerouted_after: Duration::from_millis(400), ..quick() };
    let routed = world.node(Config { routed_by_partition: true, ..config.clone() }).await;
    let path = format!("/v1/socket?p={}", partition_of_user(user_of(3, 0)));
    let (user, token) = (user_of(3, 0), world.token(user_of(3, 0)));
    let mut device = Device::open_from(routed.address, Some(&token), None, &path).await.unwrap();
    device.hello(None, None).await;
    let (cursor, _) = device.welcome().await;
    assert_eq!(device.closed().await, Some(CloseCode::Draining.number()));
    world.deliver(&[user], 1).await;
    let mut device = Device::open_from(routed.address, Some(&token), None, &path).await.unwrap();
    device.hello(None, Some(&cursor.to_string())).await;
    assert_eq!(device.welcome().await, (cursor, None));
    assert_eq!(device.messages(1).await.0, [1]);
    // Without a balancer there is nowhere to go.
    let alone = world.node(Config { ping: Duration::from_millis(100), ..config }).await;
    let (mut device, _) = world.fresh_device(&alone, user).await;
    for _ in 0..10 {
        let said = device.hear().await;
        assert!(matches!(said, Said::Server(ServerFrame::Ping { .. })), "{said:?}");
        device.say(r#"{"type":"pong"}"#).await;
    }
    routed.stop().await;
    alone.stop().await;
}

async fn asked_to_move(world: &World, node: &Node, user: domain::UserId, path: &str) -> Option<bool> {
    let mut device = Device::open_from(node.address, Some(&world.token(user)), None, path).await.unwrap();
    device.hello(None, None).await;
    match device.hear_news().await {
        Said::Server(ServerFrame::Welcome { r#move, .. }) => r#move,
        other => panic!("not a welcome: {other:?}"),
    }
}

#[tokio::test]
async fn an_address_has_its_bound_as_a_trusted_proxy_reports_it() {
    let world = World::new().await;
    let config = Config { sockets_per_address: PerAddress::Max(1), trusted_proxies: 1, ..quick() };
    let node = world.node(config).await;
    let comes = async |address: &str, index| {
        let token = world.token(user_of(0, index));
        let headers = [("authorization", format!("Bearer {token}")), ("x-forwarded-for", address.to_owned())];
        let mut device = Device::open_with(node.address, &headers, "/v1/socket").await.unwrap();
        device.hello(None, None).await;
        device
    };
    let mut first = comes("198.51.100.7", 0).await;
    first.welcome().await;
    let mut second = comes("198.51.100.7", 1).await;
    assert_eq!(second.closed().await, Some(CloseCode::TooMany.number()));
    assert_eq!(node.count("socket_turned_away_total{reason=\"full\"}"), 1);
    comes("6.6.6.6, 198.51.100.8", 2).await.welcome().await;
    node.stop().await;
}
