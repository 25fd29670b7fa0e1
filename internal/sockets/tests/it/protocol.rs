//! Authentication, and the reasons for which a socket is closed.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use protocol::{CloseCode, ServerFrame};
use sockets::Config;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::common::{Device, Node, Said, World, partition_of_user, quick, until, user_of};

async fn refused(node: &Node, token: Option<&str>, origin: Option<&str>, path: &str) -> u16 {
    match Device::open_from(node.address, token, origin, path).await.map_err(|error| *error) {
        Err(Error::Http(response)) => {
            let body = String::from_utf8(response.body().clone().unwrap_or_default()).unwrap();
            assert!(body.contains("request_id"), "refusals have the common body: {body}");
            response.status().as_u16()
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("let in"),
    }
}

#[tokio::test]
async fn a_token_comes_in_the_header_or_in_the_hello_and_never_in_the_url() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (user, token) = (user_of(5, 0), world.token(user_of(5, 0)));
    let mut native = Device::open(node.address, Some(&token)).await.unwrap();
    native.hello(None, None).await;
    let mut browser = Device::open(node.address, None).await.unwrap();
    browser.hello(Some(&token), None).await;
    for device in [&mut native, &mut browser] {
        match device.hear().await {
            Said::Server(ServerFrame::Welcome { user: named, partition, ping_ms, .. }) => {
                assert_eq!((named, partition, ping_ms), (user, partition_of_user(user), 30_000));
            }
            other => panic!("{other:?}"),
        }
    }
    for name in ["token", "jwt", "Authorization", "%6awt", "t"] {
        assert_eq!(refused(&node, None, None, &format!("/v1/socket?{name}={token}")).await, 400, "{name}");
    }
    assert_eq!(refused(&node, Some("nonsense"), None, "/v1/socket").await, 401);
    for hello in [None, Some("nonsense")] {
        let mut device = Device::open(node.address, None).await.unwrap();
        device.hello(hello, None).await;
        assert_eq!(device.closed().await, Some(CloseCode::Unauthorized.number()));
    }
    node.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_are_kept_out() {
    let world = World::new().await;
    let node =
        world.node(Config { origins: process::Origins::parse(&["https://chat.example"]).unwrap(), ..quick() }).await;
    let token = world.token(user_of(0, 0));
    assert_eq!(refused(&node, Some(&token), Some("https://evil.example"), "/v1/socket").await, 403);
    assert!(Device::open_from(node.address, Some(&token), Some("https://chat.example"), "/v1/socket").await.is_ok());
    node.stop().await;
}

#[tokio::test]
async fn a_socket_that_does_not_begin_with_hello_is_closed() {
    let world = World::new().await;
    let node = world.node(Config { hello_wait: Duration::from_millis(100), ..quick() }).await;
    let token = world.token(user_of(0, 0));
    for first in [None, Some(r#"{"type":"pong"}"#), Some("what?")] {
        let mut device = Device::open(node.address, Some(&token)).await.unwrap();
        if let Some(text) = first {
            device.say(text).await;
        }
        // A missing `hello` is not treated as a fault of the client: a machine under load may have had no time to
        // read.
        let code = if first.is_none() { CloseCode::Idle } else { CloseCode::NoHello };
        assert_eq!(device.closed().await, Some(code.number()), "{first:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_socket() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let (mut binary, _) = world.fresh_device(&node, user).await;
    binary.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(binary.closed().await, Some(CloseCode::Protocol.number()));
    let (mut stubborn, _) = world.fresh_device(&node, user).await;
    for _ in 0..11 {
        stubborn.say("{}").await;
    }
    let mut answers = 0;
    let code = loop {
        match stubborn.hear().await {
            Said::Server(ServerFrame::Error { .. }) => answers += 1,
            Said::Closed(code) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((answers, code), (10, Some(CloseCode::Protocol.number())));
    let (mut large, _) = world.fresh_device(&node, user).await;
    let _ = large.socket.send(Message::text(" ".repeat(64 * 1024 + 1))).await;
    assert_eq!(large.closed().await, Some(CloseCode::TooLarge.number()));
    let (mut fits, _) = world.fresh_device(&node, user).await;
    fits.say(&format!(r#"{{"type":"pong"{}}}"#, " ".repeat(64 * 1024 - 15))).await;
    world.deliver(&[user], 1).await;
    assert_eq!(fits.messages(1).await.0, [1]);
    node.stop().await;
}

#[tokio::test]
async fn a_silent_device_is_pinged_and_then_let_go() {
    let world = World::new().await;
    let node = world.node(Config { ping: Duration::from_millis(500), ..quick() }).await;
    let (mut silent, _) = world.fresh_device(&node, user_of(0, 0)).await;
    let (mut answers, _) = world.fresh_device(&node, user_of(0, 1)).await;
    let mut pings = 0;
    let code = loop {
        match silent.hear().await {
            Said::Server(ServerFrame::Ping { .. }) => pings += 1,
            Said::Closed(code) => break code,
            other => panic!("{other:?}"),
        }
        assert!(matches!(answers.hear().await, Said::Server(ServerFrame::Ping { .. })));
        answers.say(r#"{"type":"pong"}"#).await;
    };
    assert_eq!(code, Some(CloseCode::Idle.number()));
    assert!((2..=3).contains(&pings), "{pings} pings");
    world.deliver(&[user_of(0, 1)], 1).await;
    assert_eq!(answers.messages(1).await.0, [1]);
    node.stop().await;
}

#[tokio::test]
async fn a_device_that_only_listens_to_a_busy_feed_is_pinged_too() {
    let world = World::new().await;
    let node = world.node(Config { ping: Duration::from_millis(500), ..quick() }).await;
    let user = user_of(0, 0);
    let (mut device, _) = world.fresh_device(&node, user).await;
    let mut pings = 0;
    for number in 1.. {
        world.deliver(&[user], number).await;
        match device.hear().await {
            Said::Server(ServerFrame::Ping { .. }) => {
                device.say(r#"{"type":"pong"}"#).await;
                pings += 1;
            }
            Said::Feed(_) => {}
            other => panic!("{other:?}"),
        }
        if pings == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn the_end_of_the_token_is_the_end_of_the_socket() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    // Expired, but accepted within the leeway, which ends a moment later.
    let ttl = Duration::from_secs(60);
    let signed_ms = world.clock.now_ms() - 60_000 - auth::LEEWAY.as_millis() as i64 + 1_500;
    let token = world.key.sign(user, None, signed_ms, ttl).unwrap();
    let mut device = Device::open(node.address, None).await.unwrap();
    device.hello(Some(&token), None).await;
    device.welcome().await;
    assert_eq!(device.closed().await, Some(CloseCode::TokenExpired.number()));
    let old = world.key.sign(user, None, signed_ms - 60_000, ttl).unwrap();
    let mut device = Device::open(node.address, None).await.unwrap();
    device.hello(Some(&old), None).await;
    assert_eq!(device.closed().await, Some(CloseCode::TokenExpired.number()));
    node.stop().await;
}

/// Issue 10, item 12: at the bound of a user the socket that was silent for longest is closed.
#[tokio::test]
async fn a_user_and_a_node_have_so_many_sockets_and_no_more() {
    let world = World::new().await;
    let node = world.node(Config { sockets_per_user_max: 2, sockets_max: 4, ..quick() }).await;
    let (ann, bob) = (user_of(0, 0), user_of(0, 1));
    let mut first = world.fresh_device(&node, ann).await.0;
    let mut second = world.fresh_device(&node, ann).await.0;
    first.say("{}").await;
    assert!(matches!(first.hear().await, Said::Server(ServerFrame::Error { .. })), "it has been heard");
    let mut third = world.fresh_device(&node, ann).await.0;
    assert_eq!(second.closed().await, Some(CloseCode::TooMany.number()));
    second.leave().await;
    world.deliver(&[ann], 1).await;
    assert_eq!((first.messages(1).await.0, third.messages(1).await.0), (vec![1], vec![1]));
    until("the node has let go", || node.count("sockets_open") == 2).await;
    let _bobs = (world.fresh_device(&node, bob).await, world.fresh_device(&node, bob).await);
    let mut beyond = Device::open(node.address, Some(&world.token(user_of(0, 2)))).await.unwrap();
    assert_eq!(beyond.closed().await, Some(CloseCode::TooMany.number()));
    node.stop().await;
}

/// Issue 10, item 12: a close frame is answered with the same code, before hello and after, and then the
/// connection ends.
#[tokio::test]
async fn a_close_frame_is_answered() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let close = |code: u16| CloseFrame { code: code.into(), reason: "bye".into() };
    for (frame, answer) in [(Some(close(1000)), Some(1000)), (Some(close(4999)), Some(4999)), (None, None)] {
        let (mut greeted, _) = world.fresh_device(&node, user).await;
        let mut silent = Device::open(node.address, Some(&world.token(user))).await.unwrap();
        for device in [&mut greeted, &mut silent] {
            device.socket.send(Message::Close(frame.clone())).await.unwrap();
            match device.socket.next().await {
                Some(Ok(Message::Close(close))) => assert_eq!(close.map(|close| close.code.into()), answer),
                other => panic!("{other:?}"),
            }
            assert!(device.socket.next().await.is_none(), "the connection ends in order");
        }
    }
    node.stop().await;
}

/// Issue 10, item 12: after a close frame of its own the node reads and discards what still comes, so that the
/// code also arrives at a device that writes everything before it reads.
#[tokio::test]
async fn a_device_that_is_still_writing_gets_to_know_why_it_is_closed() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (mut large, _) = world.fresh_device(&node, user_of(0, 0)).await;
    large.socket.send(Message::text(" ".repeat(4 << 20))).await.expect("all of it is taken");
    assert_eq!(large.closed().await, Some(CloseCode::TooLarge.number()));
    node.stop().await;
}

/// Issue 10, item 12.
#[tokio::test]
async fn a_hello_that_is_none_is_told_which_field_is_wrong() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (token, other) = (world.token(user_of(0, 0)), world.token(user_of(0, 1)));
    let hello = |token: &str| format!(r#"{{"type":"hello","token":"{token}"}}"#);
    for (text, field, code) in [
        (r#"{"type":"hello","token":7}"#.to_owned(), "'token'", CloseCode::NoHello),
        (r#"{"type":"hello","cursor":{}}"#.to_owned(), "'cursor'", CloseCode::NoHello),
        (r#"{"type":5}"#.to_owned(), "'type'", CloseCode::NoHello),
        (hello(&other), "'token'", CloseCode::Protocol),
    ] {
        let mut device = Device::open(node.address, Some(&token)).await.unwrap();
        device.say(&text).await;
        match device.hear().await {
            Said::Server(ServerFrame::Error { message, .. }) => assert!(message.contains(field), "{text}: {message}"),
            other => panic!("{text}: {other:?}"),
        }
        assert_eq!(device.closed().await, Some(code.number()), "{text}");
    }
    let mut device = Device::open(node.address, Some(&token)).await.unwrap();
    device.say(&hello(&token)).await;
    device.welcome().await;
    node.stop().await;
}

#[tokio::test]
async fn a_node_is_ready_once_the_log_is_what_it_must_be() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    crate::common::until("ready", || node.readiness.is_ready()).await;
    node.stop().await;
    let empty = eventlog::embedded::EmbeddedLog::open(kv::Database::in_memory(), world.clock.clone()).await.unwrap();
    let node = world.node_on(empty, quick()).await;
    let missing = |topic| format!("there is no topic {topic}: run 'klatschctl topics apply'");
    let reasons = ["chat.deliveries", "chat.messages", "chat.receipts"].map(missing).join("; ");
    let says_so = || node.readiness.reasons().iter().any(|found| found.reason == reasons);
    crate::common::until("unready with that reason", says_so).await;
    node.stop().await;
}
