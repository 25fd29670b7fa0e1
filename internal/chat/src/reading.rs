//! The part of a conversation that a user may read: the spans of their membership, and nothing beyond.
//!
//! Every read is made in this order: the hold, the head, the memberships, the rows. Storage writes a head after the
//! rows of its event, so all memberships up to the head are complete when the head is there; entries beyond the head
//! are not shown. An entry may still show a change from beyond the head that was read: then the memberships are read
//! again, once `applied` says that they are complete up to there (`history`). Without that, somebody removed between
//! two writes of one batch could see what was said after their removal.

use api::ApiError;
use commands::{Barrier, faults};
use domain::{ConversationId, MembershipSpans, OFFSET_MAX, Seq, UserId};
use store::Head;
use tokio::time::{Instant, sleep_until};

use crate::service::Chat;

/// A seq above all others, for reads of everything that is written.
pub(crate) const NEWEST: Seq = match Seq::new(u8::MAX, OFFSET_MAX) {
    Ok(seq) => seq,
    Err(_) => panic!("the highest offset fits"),
};

/// A conversation opened for one reader.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// The head, which is read before anything else.
    pub(crate) head: Head,
    /// The spans of the reader's membership.
    pub(crate) spans: MembershipSpans,
}

impl Reading {
    /// The seq of the leaving, for a former member.
    pub(crate) fn left(&self) -> Option<Seq> {
        self.spans.left()
    }
}

impl Chat {
    /// Opens the conversation for `user`.
    ///
    /// # Errors
    /// `held`; `not_member` (also when there is no such conversation), once storage has passed what was in the log when
    /// the request came; `retry` when that takes too long.
    pub(crate) async fn open(&self, user: UserId, conversation: ConversationId) -> Result<Reading, ApiError> {
        if let Some(reading) = self.look(user, conversation).await? {
            return Ok(reading);
        }
        self.pass_log_end(conversation).await?;
        self.look(user, conversation).await?.ok_or_else(faults::not_member)
    }

    /// Waits until storage has passed what is in the log now. What is not in the store may be in the log already: only then
    /// is a "no" final.
    ///
    /// # Errors
    /// `retry` when that takes too long.
    pub(crate) async fn pass_log_end(&self, conversation: ConversationId) -> Result<(), ApiError> {
        if self.barrier.passed(Barrier::source_of(conversation), self.read_wait).await? {
            return Ok(());
        }
        Err(faults::retry())
    }

    /// Opens the conversation for `user` once the readable part reaches `at_least`.
    ///
    /// Where it does not reach so far, the answer and the time it takes depend only on the reader's membership: a "no"
    /// that came at once for what is in the log already would tell non-members how much has been said.
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

    /// As [`Self::open_at`] where a client names a seq, else as [`Self::open`].
    pub(crate) async fn open_as_asked(
        &self,
        user: UserId,
        conversation: ConversationId,
        at_least: Option<Seq>,
    ) -> Result<Reading, ApiError> {
        match at_least {
            Some(seq) => self.open_at(user, conversation, seq).await,
            None => self.open(user, conversation).await,
        }
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

    pub(crate) async fn spans(&self, user: UserId, conversation: ConversationId) -> Result<MembershipSpans, ApiError> {
        let versions = self.store.memberships(conversation, user).await.map_err(faults::of_store)?;
        Ok(MembershipSpans::of(&versions))
    }
}
