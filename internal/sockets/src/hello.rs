//! How a socket begins: who it is, and where it wants to go on.

use std::time::Duration;

use api::{Caller, ClientFrame, CloseCode, ErrorCode};
use domain::UserId;
use tokio::time::{Instant, timeout};

use crate::node::Node;
use crate::wire::{Ending, Heard, Wire};

/// No socket lives longer, whatever its token says.
const SOCKET_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A device that has said hello.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) user: UserId,
    /// The text of its cursor.
    pub(crate) cursor: Option<String>,
    /// When its token ends.
    pub(crate) expires: Instant,
}

/// Waits for the hello. `caller` is who the upgrade's own token named, if it brought one.
pub(crate) async fn greet(node: &Node, wire: &mut Wire, caller: Option<Caller>) -> Result<Guest, Ending> {
    let frame = timeout(node.config.hello_wait, first_text(wire)).await;
    let (token, cursor) = match frame.map_err(|_| Ending::Close(CloseCode::NoHello))?? {
        ClientFrame::Hello { token, cursor } => (token, cursor),
        _ => return Err(Ending::Close(CloseCode::NoHello)),
    };
    let caller = match (caller, token) {
        (Some(caller), _) => caller,
        (None, None) => return Err(Ending::Close(CloseCode::Unauthorized)),
        (None, Some(token)) => {
            let named = Caller::from_token(&node.verifier, &token).await;
            named.map_err(|refusal| Ending::Close(close_code(refusal.code)))?
        }
    };
    // The verifier took it with this leeway; without, a token that just ended would be taken and closed in turns.
    let leeway_ms = i64::try_from(auth::LEEWAY.as_millis()).unwrap_or(i64::MAX);
    let left_ms = caller.expires_ms.saturating_add(leeway_ms).saturating_sub(node.clock.now_ms());
    let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(SOCKET_AGE_MAX);
    Ok(Guest { user: caller.user, cursor, expires: Instant::now() + left })
}

async fn first_text(wire: &mut Wire) -> Result<ClientFrame, Ending> {
    loop {
        if let Heard::Text(text) = wire.hear().await? {
            return serde_json::from_str(&text).map_err(|_| Ending::Close(CloseCode::NoHello));
        }
    }
}

fn close_code(code: ErrorCode) -> CloseCode {
    match code {
        ErrorCode::TokenExpired => CloseCode::TokenExpired,
        ErrorCode::Unavailable => CloseCode::LostPlace,
        _ => CloseCode::Unauthorized,
    }
}
