//! Where a device begins after a `reset`, or at its first connect: every conversation with its head.
//!
//! The device holds a cursor E already. So that nothing falls between E and the heads, everything that is in the log
//! when the request comes has to be applied before the heads are read: the barrier, here over all partitions at once.
//! A partition that does not get there in time makes its own conversations `retry` and no others.

use std::collections::{BTreeMap, BTreeSet};

use api::{ApiError, Caller, Json, SyncConversation, SyncPage, SyncState};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use commands::{Barrier, faults};
use domain::{ConversationId, Seq, UserId};
use events::topics;
use futures_util::future::try_join_all;
use host::teeth::{Bug, bites};
use store::{CONVERSATIONS_PER_USER_MAX, Consumer, Source};

use crate::service::Chat;
use crate::view;

pub(crate) fn router() -> Router<Chat> {
    Router::new().route("/v1/sync", get(sync))
}

async fn sync(State(chat): State<Chat>, caller: Caller) -> Result<Json<SyncPage>, ApiError> {
    let behind = chat.behind().await?;
    let held = chat.held_conversations().await?;
    let conversations = chat.sync_list(caller.user, &behind, &held).await?;
    Ok(Json(SyncPage { conversations, complete: behind.is_empty() }))
}

impl Chat {
    /// The partitions that storage does not get through in time, as of now.
    async fn behind(&self) -> Result<BTreeSet<Source>, ApiError> {
        let sources = [topics::MESSAGES, topics::RECEIPTS]
            .into_iter()
            .flat_map(|topic| (0..topics::spec_of(topic).partitions).map(move |partition| Source { topic, partition }));
        let waits = sources.map(|source| async move {
            Ok::<_, ApiError>((source, self.barrier.passed(source, self.read_wait).await?))
        });
        if bites(Bug::ResetWithoutBarrier) {
            return Ok(BTreeSet::new());
        }
        let passed = try_join_all(waits).await?;
        Ok(passed.into_iter().filter(|(_, passed)| !passed).map(|(source, _)| source).collect())
    }

    /// What storage holds. Read after the barrier and before the rows, as always.
    async fn held_conversations(&self) -> Result<Held, ApiError> {
        let partitions = 0..topics::spec_of(topics::MESSAGES).partitions;
        let reads = partitions.map(|partition| self.store.holds(Consumer::Storage, partition, HELD_MAX));
        let holds = try_join_all(reads).await.map_err(faults::of_store)?;
        let whole = holds.iter().all(|holds| holds.len() < HELD_MAX);
        Ok(Held { conversations: holds.into_iter().flatten().map(|(id, _)| id).collect(), whole })
    }

    async fn sync_list(
        &self,
        user: UserId,
        behind: &BTreeSet<Source>,
        held: &Held,
    ) -> Result<Vec<SyncConversation>, ApiError> {
        let rows = self.store.conversations_of(user).await.map_err(faults::of_store)?;
        let ids: Vec<_> = rows.iter().map(|row| row.conversation).collect();
        let heads = self.store.heads(&ids).await.map_err(faults::of_store)?;
        let marks = self.store.marks(user).await.map_err(faults::of_store)?;
        let marks: BTreeMap<_, _> = marks.into_iter().collect();
        let mut list = Vec::with_capacity(rows.len());
        for (row, head) in rows.into_iter().zip(heads) {
            let id = row.conversation;
            let source = Barrier::source_of(id);
            let state = if self.is_held(held, id).await? {
                SyncState::Held
            } else if head.is_none() || behind.contains(&source) || behind.contains(&receipts_of(source)) {
                SyncState::Retry
            } else {
                SyncState::Ready
            };
            list.push(SyncConversation {
                id,
                state,
                member: row.role.is_some(),
                changed: row.changed,
                head: head.map_or(Seq::default(), |head| head.seq),
                mark: marks.get(&id).copied().map(view::mark),
            });
        }
        Ok(list)
    }

    async fn is_held(&self, held: &Held, id: ConversationId) -> Result<bool, ApiError> {
        if held.whole || held.conversations.contains(&id) {
            return Ok(held.conversations.contains(&id));
        }
        self.barrier.held(id).await
    }
}

/// Held conversations of one partition that are read at once; where there are more, each is asked for by itself.
const HELD_MAX: usize = CONVERSATIONS_PER_USER_MAX;

/// The conversations that storage holds.
struct Held {
    conversations: BTreeSet<ConversationId>,
    /// Whether these are all.
    whole: bool,
}

/// The partition of `chat.receipts` with the marks of the conversations of one of `chat.messages`: both have the same
/// key and number of partitions, which a test makes sure of.
fn receipts_of(source: Source) -> Source {
    Source { topic: topics::RECEIPTS, partition: source.partition }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_partitioned_as_messages_are() {
        assert_eq!(topics::spec_of(topics::MESSAGES).partitions, topics::spec_of(topics::RECEIPTS).partitions);
    }
}
