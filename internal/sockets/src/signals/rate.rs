//! The rate limit on the signals of one user in one conversation, over all of the user's sockets on this node.

use std::collections::HashMap;
use std::time::Duration;

use domain::{ConversationId, TYPING_EVERY, UserId};
use tokio::time::Instant;

/// Users and conversations that are tracked, in each half. Beyond, signals are dropped.
const REMEMBERED_MAX: usize = 100_000;
/// How much too early a signal may arrive: network delays vary.
const TOLERANCE: Duration = Duration::from_millis(500);

/// A user and a conversation.
type Who = (UserId, ConversationId);

/// The time from which each user's next signal in a conversation is accepted. Kept in two halves, of which the
/// older one is dropped once all of its times have passed.
#[derive(Debug, Default)]
pub(super) struct SignalRate {
    next: HashMap<Who, Instant>,
    /// The same, for entries that were made before `since`.
    earlier: HashMap<Who, Instant>,
    since: Option<Instant>,
}

impl SignalRate {
    /// Charges a signal; returns whether it is accepted. In the long run that is one in [`TYPING_EVERY`].
    pub(super) fn take(&mut self, user: UserId, conversation: ConversationId) -> bool {
        let (now, who) = (Instant::now(), (user, conversation));
        // All times in the older half have passed by then.
        if self.since.is_none_or(|since| since.elapsed() > TYPING_EVERY + TOLERANCE) {
            (self.earlier, self.since) = (std::mem::take(&mut self.next), Some(now));
        }
        let due = self.next.get(&who).or_else(|| self.earlier.get(&who)).copied().unwrap_or(now);
        let full = self.next.len() >= REMEMBERED_MAX && !self.next.contains_key(&who);
        let early = due > now + TOLERANCE;
        if !early && !full {
            self.next.insert(who, due.max(now) + TYPING_EVERY);
        }
        !early && !full
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn once_in_three_seconds_for_each_user_and_conversation() {
        let (mut rate, one, other) = (SignalRate::default(), ConversationId::direct(user(1), user(2)), user(3));
        let two = ConversationId::direct(user(1), other);
        assert!(rate.take(user(1), one) && !rate.take(user(1), one), "a second time at once is too often");
        assert!(rate.take(user(1), two) && rate.take(user(2), one), "others are not held up");
        // A device that keeps to the rate, over a network with varying delay, has every signal accepted.
        for late_ms in [2_700, 3_200, 3_000, 2_900] {
            advance(Duration::from_millis(late_ms)).await;
            assert!(rate.take(user(1), one), "after {late_ms} ms");
        }
        let mut taken = 0;
        for _ in 0..300 {
            advance(Duration::from_millis(100)).await;
            taken += u32::from(rate.take(user(2), two));
        }
        assert!((10..=11).contains(&taken), "{taken} in thirty seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let (mut rate, conversation) = (SignalRate::default(), ConversationId::direct(user(1), user(2)));
        let crowd = (0..REMEMBERED_MAX as u128 + 10).map(user);
        assert_eq!(crowd.filter(|user| rate.take(*user, conversation)).count(), REMEMBERED_MAX);
        advance(TYPING_EVERY * 2).await;
        assert!(rate.take(user(5), conversation), "and given back");
        advance(TYPING_EVERY * 2).await;
        assert!(rate.take(user(5), conversation));
        assert!(rate.next.len() + rate.earlier.len() < 3);
    }
}
