//! A socket's token and its renewal on the socket, its session, the owner of its cursor, and how much a user may
//! send.

use std::time::Duration;

use domain::UserId;
use futures_util::SinkExt;
use protocol::{CloseCode, ErrorCode, ServerFrame};
use sockets::{Allowance, Config, SIGNS_BURST};
use tokio_tungstenite::tungstenite::Message;

use crate::commands::send;
use crate::common::{Device, Node, Said, World, quick, user_of};

const SESSION: auth::SessionId = [1; 16];
const TTL: Duration = Duration::from_secs(900);

impl World {
    fn session_token(&self, user: UserId, session: auth::SessionId, ttl: Duration) -> String {
        self.key.sign(user, Some(session), self.clock.now_ms(), ttl).unwrap()
    }

    /// A token whose expiry and leeway end in a moment.
    fn ending_token(&self, user: UserId) -> String {
        let signed_ms = self.clock.now_ms() - auth::LEEWAY.as_millis() as i64 - 60_000 + 1_500;
        self.key.sign(user, Some(SESSION), signed_ms, Duration::from_secs(60)).unwrap()
    }
}

async fn welcomed(node: &Node, token: &str) -> Device {
    let mut device = Device::open(node.address, Some(token)).await.unwrap();
    device.hello(None, None).await;
    device.welcome().await;
    device
}

impl Device {
    async fn renew(&mut self, token: &str) -> Result<i64, ErrorCode> {
        self.say(&format!(r#"{{"type":"renew","token":"{token}"}}"#)).await;
        match self.hear_news().await {
            Said::Server(ServerFrame::Renewed { until }) => Ok(until),
            Said::Server(ServerFrame::Error { code, id: None, conversation: None, .. }) => Err(code),
            other => panic!("{other:?}"),
        }
    }
}

/// Issue 10, item 10.
#[tokio::test]
async fn a_socket_that_is_renewed_outlives_its_first_token() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let old = world.ending_token(user);
    let (mut renewed, mut other) = (welcomed(&node, &old).await, welcomed(&node, &old).await);
    let first = renewed.renew(&world.session_token(user, SESSION, TTL)).await.unwrap();
    let second = renewed.renew(&world.session_token(user, SESSION, TTL * 2)).await.unwrap();
    assert!(second >= first + 890_000, "a second time: the later token counts");
    assert_eq!(other.closed().await, Some(CloseCode::TokenExpired.number()), "the first token's end");
    world.deliver(&[user], 1).await;
    assert_eq!(renewed.messages(1).await.0, [1]);
    node.stop().await;
}

/// Issue 10, item 10.
#[tokio::test]
async fn a_socket_is_renewed_by_its_own_session_only_and_else_goes_on_as_before() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let mut device = welcomed(&node, &world.session_token(user, SESSION, TTL)).await;
    let long_ago_ms = world.clock.now_ms() - 86_400_000;
    for (whose, token, code) in [
        ("another user's", world.session_token(user_of(0, 1), SESSION, TTL), ErrorCode::Invalid),
        ("another session's", world.session_token(user, [2; 16], TTL), ErrorCode::Invalid),
        ("of no session", world.token(user), ErrorCode::Invalid),
        ("expired", world.key.sign(user, Some(SESSION), long_ago_ms, TTL).unwrap(), ErrorCode::TokenExpired),
        ("made up", "nonsense".to_owned(), ErrorCode::Unauthorized),
    ] {
        assert_eq!(device.renew(&token).await, Err(code), "{whose}");
    }
    world.deliver(&[user], 1).await;
    assert_eq!(device.messages(1).await.0, [1], "the token of before still counts");
    // A token of a session that has ended renews nothing, and the sockets of that session are closed.
    let mut other = welcomed(&node, &world.session_token(user, [2; 16], TTL)).await;
    world.ended.end([2; 16], 0);
    assert_eq!(other.closed().await, Some(CloseCode::Unauthorized.number()));
    assert_eq!(device.renew(&world.session_token(user, [2; 16], TTL)).await, Err(ErrorCode::SessionEnded));
    world.ended.end(SESSION, 0);
    assert_eq!(device.closed().await, Some(CloseCode::Unauthorized.number()));
    node.stop().await;
}

/// A socket is closed at its token's expiry, even if other tokens were offered and refused.
#[tokio::test]
async fn renewals_that_are_refused_do_not_keep_a_socket() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let mut device = welcomed(&node, &world.ending_token(user)).await;
    assert_eq!(device.renew(&world.session_token(user, [2; 16], TTL)).await, Err(ErrorCode::Invalid));
    assert_eq!(device.closed().await, Some(CloseCode::TokenExpired.number()));
    node.stop().await;
}

/// Issue 10, item 10: a cursor is valid for its user only.
#[tokio::test]
async fn anothers_cursor_is_reset_and_ones_own_is_not() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let (ann, bob) = (user_of(0, 0), user_of(0, 1));
    let (device, _) = world.fresh_device(&node, ann).await;
    device.leave().await;
    let cursor = world.end(ann).await;
    world.deliver(&[ann], 1).await;
    world.deliver(&[bob], 2).await;
    for (user, owner, reset, number) in [(ann, ann, None, Some(1)), (bob, ann, Some("first"), None)] {
        let mut device = Device::open(node.address, Some(&world.token(user))).await.unwrap();
        device.say(&format!(r#"{{"type":"hello","cursor":"{cursor}","user":"{owner}"}}"#)).await;
        assert_eq!(device.welcome().await.1.as_deref(), reset, "{owner}'s cursor by {user}");
        if let Some(number) = number {
            assert_eq!(device.messages(1).await.0, [number]);
        }
    }
    node.stop().await;
}

/// Issue 10, item 2: pings and pongs count as frames, those of the websocket and those of the protocol.
#[tokio::test]
async fn signs_of_life_are_frames_and_too_many_of_them_end_the_socket() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let user = user_of(0, 0);
    let pong = || Message::text(r#"{"type":"pong"}"#);
    let kinds: [fn() -> Message; 2] = [|| Message::Ping(Vec::new().into()), || Message::Pong(Vec::new().into())];
    for kind in kinds.into_iter().map(Some).chain([None]) {
        let frame = || kind.map_or_else(pong, |kind| kind());
        let (mut few, _) = world.fresh_device(&node, user).await;
        for _ in 0..SIGNS_BURST / 2 {
            few.socket.send(frame()).await.unwrap();
        }
        few.say(&send(1)).await;
        assert!(matches!(few.hear_news().await, Said::Server(ServerFrame::Ack { .. })), "a few are fine");
        let (mut many, _) = world.fresh_device(&node, user).await;
        // Twice the burst is more than what is refilled meanwhile.
        for _ in 0..SIGNS_BURST * 2 {
            if many.socket.feed(frame()).await.is_err() {
                break;
            }
        }
        let _ = many.socket.flush().await;
        assert_eq!(many.closed().await, Some(CloseCode::Protocol.number()));
    }
    node.stop().await;
}

/// The same before the hello, when the user is not known yet.
#[tokio::test]
async fn too_many_signs_of_life_end_a_socket_that_has_said_nothing_else() {
    let world = World::new().await;
    let node = world.node(quick()).await;
    let mut stranger = Device::open(node.address, None).await.unwrap();
    for _ in 0..SIGNS_BURST * 2 {
        if stranger.socket.feed(Message::Ping(Vec::new().into())).await.is_err() {
            break;
        }
    }
    let _ = stranger.socket.flush().await;
    assert_eq!(stranger.closed().await, Some(CloseCode::Protocol.number()));
    node.stop().await;
}

/// Issue 10, item 2: the limit counts all of a user's sockets together.
#[tokio::test]
async fn a_users_sockets_share_what_the_user_may_send() {
    let world = World::new().await;
    let node = world.node(Config { allowance: Allowance::new(5, 1), ..quick() }).await;
    let mut devices =
        [world.fresh_device(&node, user_of(0, 0)).await.0, world.fresh_device(&node, user_of(0, 0)).await.0];
    let (mut acked, mut limited) = (0, 0);
    for number in 0..20 {
        let device = &mut devices[usize::from(number % 2 == 1)];
        device.say(&send(number)).await;
        match device.hear_news().await {
            Said::Server(ServerFrame::Ack { .. }) => acked += 1,
            Said::Server(ServerFrame::Error { code: ErrorCode::RateLimited, id: Some(_), .. }) => limited += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(acked >= 5 && limited >= 5, "{acked} taken, {limited} refused");
    let (mut other, _) = world.fresh_device(&node, user_of(0, 1)).await;
    other.say(&send(100)).await;
    assert!(matches!(other.hear_news().await, Said::Server(ServerFrame::Ack { .. })), "somebody else may");
    node.stop().await;
}
