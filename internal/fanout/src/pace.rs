//! When the intake waits for what was sent for: only while it catches up, where running ahead of the conversations that
//! are being opened would mean reading the log again for each of them; and never for long.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::ConversationId;
use tokio::time::{Instant, sleep_until};

/// How long the intake waits at most.
const PATIENCE: Duration = Duration::from_millis(250);
/// For how long it does not wait any more once that was not enough: the store is slow or away.
const HURRY: Duration = Duration::from_secs(5);

/// Whether the intake waits.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// For whom.
    awaited: BTreeSet<ConversationId>,
    /// How long: `PATIENCE` from when it first waited since it read last, for whomever.
    until: Option<Instant>,
    /// Nobody is waited for before.
    hurry_until: Option<Instant>,
}

impl Pace {
    /// More was read.
    pub(crate) fn begin(&mut self) {
        self.until = None;
    }

    /// Something is asked for that conversation.
    pub(crate) fn sent(&mut self, conversation: ConversationId) {
        let now = Instant::now();
        if self.hurry_until.is_none_or(|until| until <= now) {
            self.awaited.insert(conversation);
            self.until.get_or_insert(now + PATIENCE);
        }
    }

    /// One is back.
    pub(crate) fn back(&mut self, conversation: ConversationId) {
        self.awaited.remove(&conversation);
    }

    pub(crate) fn waits(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Completes when that took too long; never when the intake does not wait.
    pub(crate) async fn lost(&self) {
        match self.until {
            Some(until) if self.waits() => sleep_until(until).await,
            _ => std::future::pending().await,
        }
    }

    /// It took too long.
    pub(crate) fn hurry(&mut self) {
        *self = Self { hurry_until: Some(Instant::now() + HURRY), ..Self::default() };
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
        let mut pace = Pace::default();
        pace.sent(one);
        pace.sent(other);
        pace.back(one);
        assert!(pace.waits());
        pace.back(other);
        assert!(!pace.waits());
        // Request after request for the same conversation.
        let begun = Instant::now();
        for _ in 0..4 {
            pace.sent(one);
            sleep(PATIENCE / 5).await;
            pace.back(one);
        }
        pace.sent(one);
        pace.lost().await;
        assert_eq!(begun.elapsed(), PATIENCE, "in all, until more is read");
        pace.hurry();
        pace.sent(other);
        assert!(!pace.waits(), "the store is slow: no more waiting");
        sleep(HURRY).await;
        pace.begin();
        pace.sent(other);
        pace.back(one);
        assert!(pace.waits());
    }
}
