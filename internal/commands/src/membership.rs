//! Who may speak where, as far as the store knows: advisory, for quick answers.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::ApiError;
use domain::{CommandId, ConversationId, Past, Role, Seq, Stands, UserId};
use lru::LruCache;
use store::SharedStore;
use tokio::time::timeout;

use crate::{Barrier, faults};

/// How long a "no" waits for storage to pass the watermark.
const APPLIED_WAIT: Duration = Duration::from_millis(200);
/// How long all of a check may take; beyond, the reducer decides.
const CHECK_WAIT: Duration = Duration::from_millis(400);
/// Memberships remembered per process, about 5 MiB. At the bound the least recently used is asked for again.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// What the store knows of a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A member, now or a moment ago.
    Member,
    /// No member any more as of everything that was in the log when the check began.
    Former,
    /// Never a member, as of then.
    Stranger,
    /// The store is behind, holds the conversation, or does not answer.
    Unsure,
}

/// Asks the store, and remembers who is a member. Cheap to clone.
///
/// Only "yes" is remembered. It may be stale, which is harmless: the reducer decides who speaks, and every read of the
/// API asks the store anew.
#[derive(Clone)]
pub(crate) struct Memberships {
    store: SharedStore,
    barrier: Barrier,
    known: Arc<Mutex<LruCache<(UserId, ConversationId), ()>>>,
}

/// The newest place up to `upto` within a membership, a leaving included; from the versions of the membership, by seq.
pub(crate) fn newest_readable(versions: &[(Seq, Option<Role>)], upto: Seq) -> Option<Seq> {
    let mut newest = None;
    for (seq, role) in versions.iter().filter(|(seq, _)| *seq <= upto) {
        newest = match role {
            Some(_) => Some(upto),
            None => newest.map(|_| *seq),
        };
    }
    newest
}

impl Memberships {
    pub(crate) fn new(store: SharedStore, barrier: Barrier) -> Self {
        Self { store, barrier, known: Arc::new(Mutex::new(LruCache::new(REMEMBERED_MAX))) }
    }

    /// Whether `user` is a member; never fails and never takes long.
    pub(crate) async fn check(&self, user: UserId, conversation: ConversationId) -> Answer {
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&(user, conversation)).is_some() {
            return Answer::Member;
        }
        self.check_anew(user, conversation).await
    }

    /// The same, whatever is remembered: a member is one now.
    pub(crate) async fn check_anew(&self, user: UserId, conversation: ConversationId) -> Answer {
        match timeout(CHECK_WAIT, self.ask(user, conversation)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::debug!(code = ?error.code, error = ?error.cause, "membership not checked");
                Answer::Unsure
            }
            Err(_) => Answer::Unsure,
        }
    }

    async fn ask(&self, user: UserId, conversation: ConversationId) -> Result<Answer, ApiError> {
        if self.look(user, conversation).await? == Answer::Member {
            return Ok(Answer::Member);
        }
        if !self.barrier.passed(Barrier::source_of(conversation), APPLIED_WAIT).await? {
            return Ok(Answer::Unsure);
        }
        // The order of every read: applied, then the hold, then the rows.
        if self.barrier.held(conversation).await? {
            return Ok(Answer::Unsure);
        }
        self.look(user, conversation).await
    }

    async fn look(&self, user: UserId, conversation: ConversationId) -> Result<Answer, ApiError> {
        let row = self.store.user_conversation(user, conversation).await.map_err(faults::of_store)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match row.map(|row| row.role) {
            Some(Some(_)) => {
                known.put((user, conversation), ());
                Answer::Member
            }
            left => {
                known.pop(&(user, conversation));
                if left.is_some() { Answer::Former } else { Answer::Stranger }
            }
        })
    }

    /// Whether `user` may react to the message: it is there, and was said while they were a member. `None`: the reducer
    /// decides, since the store is behind, holds the conversation or does not answer. Also of a retry of what stands.
    pub(crate) async fn reads(
        &self,
        user: UserId,
        conversation: ConversationId,
        (id, target): (CommandId, CommandId),
    ) -> Option<bool> {
        let asked = async {
            if self.shows(user, conversation, target).await? {
                return Ok(Some(true));
            }
            if !self.barrier.passed(Barrier::source_of(conversation), APPLIED_WAIT).await?
                || self.barrier.held(conversation).await?
                || self.stands(user, conversation, id).await
            {
                return Ok(None);
            }
            self.shows(user, conversation, target).await.map(Some)
        };
        match timeout(CHECK_WAIT, asked).await {
            Ok(Ok::<_, ApiError>(answer)) => answer,
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn shows(&self, user: UserId, conversation: ConversationId, target: CommandId) -> Result<bool, ApiError> {
        let applied = self.store.applied(Barrier::source_of(conversation)).await.map_err(faults::of_store)?;
        let Some(applied) = applied else { return Ok(false) };
        let row = self.store.id(conversation, target, applied.seq).await.map_err(faults::of_store)?;
        let Some(row) = row.filter(|row| matches!(row.stands, Stands::Message { .. }) && row.deleted.is_none()) else {
            return Ok(false);
        };
        let versions = self.store.memberships(conversation, user).await.map_err(faults::of_store)?;
        Ok(row.author == user || Past::At(row.seq).answer(versions, applied.seq))
    }

    /// Whether a command of this user's was accepted under `id` in a conversation that the user is not in any more: its
    /// retry is a duplicate before it is refused, so the reducer must see it. Asked after [`Answer::Former`].
    pub(crate) async fn stands(&self, user: UserId, conversation: ConversationId, id: CommandId) -> bool {
        let asked = async {
            let source = Barrier::source_of(conversation);
            let Some(applied) = self.store.applied(source).await? else { return Ok(None) };
            self.store.id(conversation, id, applied.seq).await
        };
        match timeout(CHECK_WAIT, asked).await {
            Ok(Ok(row)) => row.is_some_and(|row| row.author == user),
            // It cannot be told: appending is always safe.
            Ok(Err(_)) | Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_readable_lies_within_a_membership() {
        let seq = |offset| Seq::new(0, offset).unwrap();
        let (member, admin) = (Some(Role::Member), Some(Role::Admin));
        let versions = [(seq(3), member), (seq(5), admin), (seq(8), None), (seq(20), member), (seq(22), None)];
        let newest = |offset| newest_readable(&versions, seq(offset)).map(Seq::offset);
        let all: Vec<_> = [2, 3, 6, 8, 9, 19, 20, 21, 22, 30].map(newest).into();
        assert_eq!(all, [None, Some(3), Some(6), Some(8), Some(8), Some(8), Some(20), Some(21), Some(22), Some(22)]);
    }
}
