//! The token of a socket that stands: replaced in band, before it ends.

use std::time::Duration;

use protocol::ClientFrame;
use tokio::time::Instant;

use super::http::Access;

/// After an attempt that came to nothing, or that nobody answers.
const AGAIN: Duration = Duration::from_secs(6);

/// Where the renewal of one socket's token stands.
#[derive(Debug)]
pub(super) struct Renewal {
    /// When another token is asked for; `None` while one is.
    due: Option<Instant>,
    /// A token that is to be sent.
    found: Option<Access>,
    /// When the one that was sent is to be replaced in turn.
    sent: Option<Instant>,
}

impl Renewal {
    /// Of a socket whose token is to be replaced then.
    pub(super) fn of(renew_at: Instant) -> Self {
        Self { due: Some(renew_at), found: None, sent: None }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether another token has to be asked for now.
    pub(super) fn begins(&mut self) -> bool {
        self.due.take_if(|due| *due <= Instant::now()).is_some()
    }

    /// What came of asking.
    pub(super) fn answered(&mut self, access: Option<Access>) {
        self.due = Some(Instant::now() + AGAIN);
        self.found = access;
    }

    /// What is to be sent.
    pub(super) fn take_frame(&mut self) -> Option<ClientFrame> {
        let Access { token, until } = self.found.take()?;
        self.sent = Some(until);
        Some(ClientFrame::Renew { token })
    }

    /// The node goes on with the token that was sent.
    pub(super) fn confirmed(&mut self) {
        self.due = self.sent.take().or(self.due);
    }
}
