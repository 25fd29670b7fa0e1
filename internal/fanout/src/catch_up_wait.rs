//! When the intake waits for requested facts: only while it catches up with the log, where running ahead of the
//! conversations that are being opened would mean reading the log again for each of them; and never for long.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::ConversationId;
use tokio::time::{Instant, sleep_until};

/// The longest that the intake waits.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long it does not wait at all once that was not enough: the store is slow or away.
const NO_WAIT_FOR: Duration = Duration::from_secs(5);

/// Decides whether the intake waits.
#[derive(Debug, Default)]
pub(crate) struct CatchUpWait {
    /// The conversations that the intake waits for.
    awaited: BTreeSet<ConversationId>,
    /// The end of the wait: `PATIENCE` after the first wait since the last read, for all conversations together.
    until: Option<Instant>,
    /// Until this time, the intake waits for no conversation.
    no_wait_until: Option<Instant>,
}

impl CatchUpWait {
    /// More records were read.
    pub(crate) fn read_more(&mut self) {
        self.until = None;
    }

    /// A request was made for that conversation.
    pub(crate) fn requested(&mut self, conversation: ConversationId) {
        let now = Instant::now();
        if self.no_wait_until.is_none_or(|until| until <= now) {
            self.awaited.insert(conversation);
            self.until.get_or_insert(now + PATIENCE);
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, conversation: ConversationId) {
        self.awaited.remove(&conversation);
    }

    pub(crate) fn waits(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Completes when the wait took too long; pending while the intake does not wait.
    pub(crate) async fn expired(&self) {
        match self.until {
            Some(until) if self.waits() => sleep_until(until).await,
            _ => std::future::pending().await,
        }
    }

    /// Ends the wait, because it took too long.
    pub(crate) fn give_up(&mut self) {
        *self = Self { no_wait_until: Some(Instant::now() + NO_WAIT_FOR), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_intake_waits_for_who_is_opened_and_loses_patience_for_a_while() {
        let user = |number| domain::UserId::try_from(uuid::Uuid::from_u128(number)).unwrap();
        let [one, other] = [1, 2].map(|number| ConversationId::direct(user(0), user(number)));
        let mut wait = CatchUpWait::default();
        wait.requested(one);
        wait.requested(other);
        wait.answered(one);
        assert!(wait.waits());
        wait.answered(other);
        assert!(!wait.waits());
        // One request after another for the same conversation.
        let begun = Instant::now();
        for _ in 0..4 {
            wait.requested(one);
            sleep(PATIENCE / 5).await;
            wait.answered(one);
        }
        wait.requested(one);
        wait.expired().await;
        assert_eq!(begun.elapsed(), PATIENCE, "in all, until more is read");
        wait.give_up();
        wait.requested(other);
        assert!(!wait.waits(), "the store is slow: no more waiting");
        sleep(NO_WAIT_FOR).await;
        wait.read_more();
        wait.requested(other);
        wait.answered(one);
        assert!(wait.waits());
    }
}
