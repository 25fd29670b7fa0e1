//! The beginning of a socket: the `hello` frame, which authenticates the user and brings the cursor.

use std::time::Duration;

use api::Caller;
use auth::SessionWatch;
use domain::UserId;
use protocol::{ClientFrame, CloseCode, ErrorCode, ServerFrame};
use secret::Secret;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::budget::{Budget, SIGNS_BURST, SIGNS_PER_SECOND};
use crate::feed::Brought;
use crate::node::Node;
use crate::parse::parse;
use crate::wire::{Ending, Heard, Wire};

/// The longest that a socket lives without a renewed token, whatever the expiry of its token.
pub const SOCKET_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A device whose `hello` was accepted.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) user: UserId,
    /// The cursor that it sent.
    pub(crate) brought: Brought,
    /// Whether it accepts several frames in one websocket message.
    pub(crate) batches: bool,
    /// Whether it asked for signals.
    pub(crate) signals: bool,
    /// When its token expires.
    pub(crate) expires: Instant,
    /// The sign-in session of that token, if it belongs to one.
    pub(crate) session: Option<SessionWatch>,
}

/// Waits for the `hello`. `caller` is the user of the upgrade request's own token, if it had one, and `brought` is
/// that token.
pub(crate) async fn greet(
    node: &Node,
    wire: &mut Wire,
    caller: Option<&Caller>,
    brought: Option<&Secret>,
) -> Result<Guest, Ending> {
    let text = node.node_clock.within(node.config.hello_wait, first_text(wire)).await;
    // A late `hello` need not be a fault of the client: the network may be slow, or the server had no time to
    // read. `Idle` lets the client reconnect.
    let text = text.ok_or(Ending::Close(CloseCode::Idle))??;
    let (token, cursor, owner, batches, signals) = match parse(&text) {
        Ok(ClientFrame::Hello { token, cursor, user, batch, signals }) => {
            (token, cursor, user, batch == Some(true), signals == Some(true))
        }
        Ok(_) => return Err(Ending::Close(CloseCode::NoHello)),
        Err(refusal) => return Err(refuse(wire, &refusal, CloseCode::NoHello).await),
    };
    let caller = match (caller, token) {
        // Two different tokens: choosing one of them would be a guess.
        (Some(_), Some(token)) if brought != Some(&token) => {
            let words = "'token' is another one than that of the 'Authorization' header: send one of them";
            let refusal = ServerFrame::Error {
                id: None,
                conversation: None,
                code: ErrorCode::BadRequest,
                message: words.to_owned(),
                retry_after: None,
            };
            return Err(refuse(wire, &refusal, CloseCode::Protocol).await);
        }
        (Some(caller), _) => caller.clone(),
        (None, None) => return Err(Ending::Close(CloseCode::Unauthorized)),
        (None, Some(token)) => {
            let named = Caller::from_token(&node.verifier, token.expose()).await;
            named.map_err(|refusal| Ending::Close(close_code(refusal.code)))?
        }
    };
    // Another user's cursor is a position in another feed: it is ignored, so that this device gets a reset with
    // `first`.
    let cursor = cursor.filter(|_| owner.is_none_or(|owner| owner == caller.user));
    let brought = Brought::read(cursor.as_deref(), node.partition(caller.user));
    let session = caller.session.map(|session| node.verifier.ended().watch(session));
    let expires = end_of(node, caller.expires_ms);
    Ok(Guest { user: caller.user, brought, batches, signals, expires, session })
}

/// When a socket must end whose token expires at `expires_ms`.
pub(crate) fn end_of(node: &Node, expires_ms: i64) -> Instant {
    // The verifier accepts a token for this leeway after its expiry. Without it here, such a token would be
    // accepted and its socket closed at once, again and again.
    let leeway_ms = i64::try_from(auth::LEEWAY.as_millis()).unwrap_or(i64::MAX);
    let left_ms = expires_ms.saturating_add(leeway_ms).saturating_sub(node.clock.now_ms());
    Instant::now() + Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(SOCKET_AGE_MAX)
}

/// The first text message. Pings and pongs before it are rate-limited as those after it.
async fn first_text(wire: &mut Wire) -> Result<Utf8Bytes, Ending> {
    let mut signs = Budget::new(SIGNS_BURST, SIGNS_PER_SECOND);
    loop {
        match wire.hear().await? {
            Heard::Text(text) => return Ok(text),
            Heard::Sign if signs.spend() => {}
            Heard::Sign => return Err(Ending::Close(CloseCode::Protocol)),
        }
    }
}

/// Sends the error about a device's first frame; returns how its socket ends.
async fn refuse(wire: &mut Wire, refusal: &ServerFrame, code: CloseCode) -> Ending {
    wire.feed_frame(refusal);
    match wire.flush().await {
        Ok(()) => Ending::Close(code),
        Err(ending) => ending,
    }
}

fn close_code(code: ErrorCode) -> CloseCode {
    match code {
        ErrorCode::TokenExpired => CloseCode::TokenExpired,
        ErrorCode::Unavailable => CloseCode::PositionLost,
        _ => CloseCode::Unauthorized,
    }
}
