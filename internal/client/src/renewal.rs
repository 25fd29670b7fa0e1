//! When a socket's token is renewed. A newer token is sent over the socket before the old one expires, so that the
//! socket is not interrupted.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after a failed attempt. Attempts are repeated until the token expires: then the server closes the
/// socket, and the client reconnects.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The renewals of one socket.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    /// When the next attempt begins. `None` while there is no socket, or a token is being fetched.
    due: Option<Instant>,
    /// The time at which the token that was sent, and is not confirmed yet, will itself be due for renewal.
    sent: Option<Instant>,
}

impl Renewal {
    /// A socket was opened, with a token that is due for renewal at `renew_at`.
    pub(crate) fn connected(&mut self, renew_at: Instant) {
        *self = Self { due: Some(renew_at), sent: None };
    }

    /// The socket was lost.
    pub(crate) fn lost(&mut self) {
        *self = Self::default();
    }

    /// When the next attempt is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a newer token has to be fetched now.
    pub(crate) fn begins(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// No newer token could be fetched.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.due = Some(now + AGAIN_AFTER);
    }

    /// A newer token is being sent to the server; it is itself due for renewal at `renew_at`. It counts once the
    /// server confirms it.
    pub(crate) fn sent(&mut self, renew_at: Instant, now: Instant) {
        (self.sent, self.due) = (Some(renew_at), Some(now + AGAIN_AFTER));
    }

    /// The server has confirmed the token that was sent.
    pub(crate) fn confirmed(&mut self) {
        self.due = self.sent.take().or(self.due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_until_the_server_confirms_and_then_not_before_it_is_due_again() {
        let (mut renewal, begun) = (Renewal::default(), Instant::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        assert_eq!((renewal.due(), renewal.begins(at(9))), (None, false), "there is no socket");
        renewal.connected(at(10));
        assert!(!renewal.begins(at(9)) && renewal.begins(at(10)));
        assert!(!renewal.begins(at(11)), "a token is being asked for");
        renewal.failed(at(11));
        assert!(!renewal.begins(at(12)) && renewal.begins(at(13)));
        renewal.sent(at(100), at(17));
        assert!(renewal.begins(at(19)), "the server has not answered, or has refused");
        renewal.sent(at(100), at(23));
        renewal.confirmed();
        assert_eq!(renewal.due(), Some(at(100)));
        renewal.confirmed();
        assert_eq!(renewal.due(), Some(at(100)), "a confirmation of nothing changes nothing");
        renewal.lost();
        assert_eq!(renewal.due(), None);
    }
}
