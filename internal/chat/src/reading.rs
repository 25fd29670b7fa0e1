//! What a user may read of a conversation: the spans of their membership, and nothing beyond.
//!
//! Every read is made in this order: the hold, the head, the memberships, the rows. Storage writes a head after the
//! rows of its event, so all memberships up to the head are there when the head is; entries beyond the head are not
//! shown. What changed an entry may still lie beyond the head that was read: then the memberships are read again, once
//! `applied` says that they are whole up to there (`history`). Without that, somebody removed between two writes of
//! one batch could see what was said behind their back.

use api::ApiError;
use commands::{Barrier, faults};
use domain::{ConversationId, OFFSET_MAX, Role, Seq, UserId};
use store::Head;
use tokio::time::{Instant, sleep_until};

use crate::service::Chat;

/// As of everything that is written.
pub(crate) const NEWEST: Seq = match Seq::new(u8::MAX, OFFSET_MAX) {
    Ok(seq) => seq,
    Err(_) => panic!("the highest offset fits"),
};

/// A conversation opened for one reader.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// Read before anything else.
    pub(crate) head: Head,
    /// When the reader was a member.
    pub(crate) spans: Spans,
}

impl Reading {
    /// The leaving, of who is no member any more.
    pub(crate) fn left(&self) -> Option<Seq> {
        self.spans.left()
    }
}

/// The spans of a user's membership, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans(Vec<Span>);

/// From a joining to a leaving, both included: who comes sees themselves come, who goes sees themselves go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Seq,
    /// `None`: a member now.
    pub(crate) to: Option<Seq>,
}

impl Span {
    pub(crate) fn contains(&self, seq: Seq) -> bool {
        self.from <= seq && self.to.is_none_or(|to| seq <= to)
    }
}

impl Spans {
    /// From the versions of a membership, by seq.
    pub(crate) fn of(versions: &[(Seq, Option<Role>)]) -> Self {
        let mut spans: Vec<Span> = Vec::new();
        for (seq, role) in versions {
            let open = spans.last_mut().filter(|span| span.to.is_none());
            match (open, role) {
                (None, Some(_)) => spans.push(Span { from: *seq, to: None }),
                (Some(span), None) => span.to = Some(*seq),
                // A change of role, or a leaving whose joining is not there.
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        Self(spans)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn left(&self) -> Option<Seq> {
        self.0.last().and_then(|span| span.to)
    }

    pub(crate) fn contain(&self, seq: Seq) -> bool {
        self.0.iter().any(|span| span.contains(seq))
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Span> {
        self.0.iter().copied()
    }
}

impl Chat {
    /// Opens the conversation for `user`.
    ///
    /// # Errors
    /// `held`; `not_member` (or no such conversation), once storage has passed what was in the log when the request
    /// came; `retry` when that takes too long.
    pub(crate) async fn open(&self, user: UserId, conversation: ConversationId) -> Result<Reading, ApiError> {
        if let Some(reading) = self.look(user, conversation).await? {
            return Ok(reading);
        }
        if !self.barrier.passed(Barrier::source_of(conversation), self.read_wait).await? {
            return Err(faults::retry());
        }
        self.look(user, conversation).await?.ok_or_else(faults::not_member)
    }

    /// Opens the conversation for `user` once what they may read of it reaches `at_least`.
    ///
    /// Where it does not, the answer and the time it takes depend on nothing but the reader's membership: a "no" that came
    /// at once for what is in the log already would tell those who may not read it how much has been said.
    ///
    /// # Errors
    /// `held`; `retry` when it does not reach so far in time, or never will.
    pub(crate) async fn open_at(
        &self,
        user: UserId,
        conversation: ConversationId,
        at_least: Seq,
    ) -> Result<Reading, ApiError> {
        let deadline = Instant::now() + self.read_wait;
        if self.barrier.applied(Barrier::source_of(conversation), at_least, self.read_wait).await?
            && let Some(reading) = self.look(user, conversation).await?
            && reading.left().is_none_or(|left| at_least <= left)
        {
            return Ok(reading);
        }
        sleep_until(deadline).await;
        Err(faults::retry())
    }

    async fn look(&self, user: UserId, conversation: ConversationId) -> Result<Option<Reading>, ApiError> {
        if self.barrier.held(conversation).await? {
            return Err(faults::held());
        }
        let heads = self.store.heads(&[conversation]).await.map_err(faults::of_store)?;
        let Some(head) = heads.into_iter().next().flatten() else { return Ok(None) };
        let spans = self.spans(user, conversation).await?;
        Ok((!spans.is_empty()).then_some(Reading { head, spans }))
    }

    pub(crate) async fn spans(&self, user: UserId, conversation: ConversationId) -> Result<Spans, ApiError> {
        let versions = self.store.memberships(conversation, user).await.map_err(faults::of_store)?;
        Ok(Spans::of(&versions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(offset: u64) -> Seq {
        Seq::new(0, offset).unwrap()
    }

    #[test]
    fn spans_run_from_joining_to_leaving_and_a_role_changes_nothing() {
        let (member, admin) = (Some(Role::Member), Some(Role::Admin));
        let spans = Spans::of(&[(seq(3), member), (seq(5), admin), (seq(8), None), (seq(20), member)]);
        assert_eq!(spans.left(), None);
        let seen: Vec<u64> = (0..30).filter(|at| spans.contain(seq(*at))).collect();
        assert_eq!(seen, [3, 4, 5, 6, 7, 8, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
        assert_eq!(Spans::of(&[(seq(3), member), (seq(8), None)]).left(), Some(seq(8)));
        assert!(Spans::of(&[]).is_empty());
    }
}
