//! The access token of an open socket: replaced over the socket itself, before it expires.

use std::time::Duration;

use protocol::ClientFrame;
use tokio::time::Instant;

use super::http::Access;

/// Pause after an attempt that failed or was not answered.
const AGAIN: Duration = Duration::from_secs(6);

/// The state of the token's renewal on one socket.
#[derive(Debug)]
pub(super) struct Renewal {
    /// When a new token is requested; `None` while a request is running.
    due: Option<Instant>,
    /// A new token that is still to be sent.
    found: Option<Access>,
    /// When the token that was sent is to be replaced in turn.
    sent: Option<Instant>,
}

impl Renewal {
    /// The renewal for a socket whose token is to be replaced at `renew_at`.
    pub(super) fn of(renew_at: Instant) -> Self {
        Self { due: Some(renew_at), found: None, sent: None }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a new token has to be requested now.
    pub(super) fn begins(&mut self) -> bool {
        self.due.take_if(|due| *due <= Instant::now()).is_some()
    }

    /// Takes the result of the request.
    pub(super) fn answered(&mut self, access: Option<Access>) {
        self.due = Some(Instant::now() + AGAIN);
        self.found = access;
    }

    /// The `renew` frame, if a new token is to be sent.
    pub(super) fn take_frame(&mut self) -> Option<ClientFrame> {
        let Access { token, until } = self.found.take()?;
        self.sent = Some(until);
        Some(ClientFrame::Renew { token })
    }

    /// Notes that the node has accepted the token that was sent.
    pub(super) fn confirmed(&mut self) {
        self.due = self.sent.take().or(self.due);
    }
}
