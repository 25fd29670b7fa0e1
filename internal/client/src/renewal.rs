//! When a socket's token is replaced by a newer one. That is done in band, before the old one ends, so that the socket
//! is not interrupted.

use std::time::Duration;

use tokio::time::Instant;

/// How long after an attempt that came to nothing the next one begins. Nothing bounds the attempts but the token's end:
/// then the server closes the socket, and the client connects again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The renewals of one socket.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    /// When the next attempt begins. `None`: there is no socket, or a token is being asked for.
    due: Option<Instant>,
    /// When the token has to be replaced in turn that was sent and is not confirmed yet.
    sent: Option<Instant>,
}

impl Renewal {
    /// A socket stands, with a token that has to be replaced then.
    pub(crate) fn connected(&mut self, renew_at: Instant) {
        *self = Self { due: Some(renew_at), sent: None };
    }

    /// The socket is gone.
    pub(crate) fn lost(&mut self) {
        *self = Self::default();
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether another token has to be asked for now.
    pub(crate) fn begins(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// No token was to be had.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.due = Some(now + AGAIN_AFTER);
    }

    /// Another token goes to the server, which has to be replaced then. It counts once the server says so.
    pub(crate) fn sent(&mut self, renew_at: Instant, now: Instant) {
        (self.sent, self.due) = (Some(renew_at), Some(now + AGAIN_AFTER));
    }

    /// The server goes on with the token that was sent.
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
