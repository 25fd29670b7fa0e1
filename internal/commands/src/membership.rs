//! Checks membership in the store: advisory, for quick answers.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::ApiError;
use domain::{CommandId, ConversationId, Past, Stands, UserId};
use lru::LruCache;
use store::SharedStore;
use tokio::time::timeout;

use crate::{Barrier, faults};

/// How long a negative answer waits for storage to pass the watermark.
const APPLIED_WAIT: Duration = Duration::from_millis(200);
/// The longest that a check may take; after that, the reducer decides.
const CHECK_WAIT: Duration = Duration::from_millis(400);
/// Memberships cached per process, about 5 MiB. At the bound the least recently used is dropped.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// The store's answer about a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The user is a member, or was one a moment ago.
    Member,
    /// The user is a former member, as of everything that was in the log when the check began.
    Former,
    /// The user never was a member, as of the same.
    Stranger,
    /// The store is behind, holds the conversation, or does not answer.
    Unsure,
}

/// Checks memberships in the store and caches who is a member. Cheap to clone.
///
/// Only positive answers are cached. They may be stale, which is harmless: the reducer decides who may speak, and
/// every read of the API asks the store.
#[derive(Clone)]
pub(crate) struct Memberships {
    store: SharedStore,
    barrier: Barrier,
    known: Arc<Mutex<LruCache<(UserId, ConversationId), ()>>>,
}

impl Memberships {
    pub(crate) fn new(store: SharedStore, barrier: Barrier) -> Self {
        Self { store, barrier, known: Arc::new(Mutex::new(LruCache::new(REMEMBERED_MAX))) }
    }

    /// Whether `user` is a member. Never fails, and takes [`CHECK_WAIT`] at most.
    pub(crate) async fn check(&self, user: UserId, conversation: ConversationId) -> Answer {
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&(user, conversation)).is_some() {
            return Answer::Member;
        }
        self.check_anew(user, conversation).await
    }

    /// As [`Self::check`], without the cache: [`Answer::Member`] means a member as of now.
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

    /// Whether `user` may react to the message: it exists, and was sent during a membership of the user. `None`
    /// leaves it to the reducer: the store is behind, holds the conversation or does not answer, or the command is
    /// a retry of one that was accepted.
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

    /// Whether a command of this user was accepted under `id`, in a conversation that the user has left. The
    /// reducer checks duplicates before it refuses, so it must see such a retry. To be called after
    /// [`Answer::Former`].
    pub(crate) async fn stands(&self, user: UserId, conversation: ConversationId, id: CommandId) -> bool {
        let asked = async {
            let source = Barrier::source_of(conversation);
            let Some(applied) = self.store.applied(source).await? else { return Ok(None) };
            self.store.id(conversation, id, applied.seq).await
        };
        match timeout(CHECK_WAIT, asked).await {
            Ok(Ok(row)) => row.is_some_and(|row| row.author == user),
            // The answer is not known: appending is always safe.
            Ok(Err(_)) | Err(_) => true,
        }
    }
}
