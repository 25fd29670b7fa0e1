//! The sync: how a device begins after a `reset`, or at its first connect, with every conversation and its head.
//!
//! The device holds a cursor E already. So that nothing falls between E and the heads, everything that is in the log
//! when the request comes must be applied before the heads are read: the barrier, here over all partitions at once.
//! Where a partition does not get there in time, or does not answer, its own conversations are `retry` and no others.
//!
//! The list is paged by conversation id, never by recency, so that a conversation does not move between two pages. Each
//! page has a barrier of its own, which is later than E as well; a conversation that is joined between two pages, and
//! sorts before the second, comes over the feed behind E.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use api::{ApiError, Json, Query, Routes};
use axum::extract::State;
use commands::{Barrier, faults};
use domain::{ConversationId, Seq, UserId};
use environment::seeded_bugs::{Bug, seeded};
use events::topics;
use futures_util::future::{join_all, try_join_all};
use protocol::{ErrorCode, SyncConversation, SyncPage, SyncState};
use serde::Deserialize;
use store::{Consumer, Source, UserConversation};

use crate::paging;
use crate::service::{Chat, Reader};
use crate::view;

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new().get("/v1/sync", sync)
}

/// The most conversations of one page, and the default size: each costs the read of a head.
pub const PAGE_MAX: usize = 1000;

#[derive(Deserialize)]
struct SyncQuery {
    after: Option<String>,
    limit: Option<i64>,
}

/// The page cursor of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncCursor {
    /// The page begins behind this conversation.
    pub conversation: ConversationId,
    /// Whether an earlier page may lack conversations: then the last one must not say that the sync is complete.
    pub incomplete: bool,
}

async fn sync(
    State(chat): State<Chat>,
    caller: Reader,
    Query(query): Query<SyncQuery>,
) -> Result<Json<SyncPage>, ApiError> {
    let limit = query.limit.map_or(Ok(PAGE_MAX), |limit| paging::limit(Some(limit), PAGE_MAX))?;
    let from = query.after.as_deref().map(parse).transpose()?;
    let behind = chat.behind().await?;
    let held = chat.held_conversations().await?;
    let after = from.map(|from| from.conversation);
    let conversations = chat.sync_page(caller.user, after, limit, &behind, &held).await?;
    let last = conversations.last().filter(|_| conversations.len() == limit);
    let hidden = held.hides_from(&conversations, after, last.map(|last| last.id));
    let incomplete = !behind.is_empty() || hidden || from.is_some_and(|from| from.incomplete);
    let next = last.map(|last| SyncCursor { conversation: last.id, incomplete }.to_string());
    Ok(Json(SyncPage { complete: next.is_none() && !incomplete, conversations, next }))
}

impl Display for SyncCursor {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.conversation, if self.incomplete { INCOMPLETE } else { "" })
    }
}

/// The end of a page cursor when an earlier page may lack conversations.
const INCOMPLETE: &str = ".incomplete";

/// Parses a page cursor.
///
/// # Errors
/// When the text is not one that an earlier page has returned.
pub fn parse(after: &str) -> Result<SyncCursor, ApiError> {
    let whole = after.strip_suffix(INCOMPLETE);
    let conversation = whole.unwrap_or(after).parse().map_err(|_| {
        ApiError::new(ErrorCode::BadRequest, "after: send back the 'next' of the page before as it was")
    })?;
    Ok(SyncCursor { conversation, incomplete: whole.is_some() })
}

impl Chat {
    /// The partitions that storage does not get through in time, or that cannot be asked at the moment. A failure
    /// counts like slowness: neither is a reason to fail the conversations of other partitions.
    async fn behind(&self) -> Result<BTreeSet<Source>, ApiError> {
        let sources = [topics::MESSAGES, topics::RECEIPTS]
            .into_iter()
            .flat_map(|topic| (0..topics::spec_of(topic).partitions).map(move |partition| Source { topic, partition }));
        let waits = sources.map(|source| async move { (source, self.barrier.passed(source, self.read_wait).await) });
        if seeded(Bug::ResetWithoutBarrier) {
            return Ok(BTreeSet::new());
        }
        let (mut behind, mut answered, mut unanswered) = (BTreeSet::new(), false, None);
        for (source, passed) in join_all(waits).await {
            answered |= passed.is_ok();
            match passed {
                Ok(true) => {}
                Ok(false) => _ = behind.insert(source),
                Err(error) if error.code == ErrorCode::Unavailable => {
                    behind.insert(source);
                    unanswered = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match unanswered {
            Some(error) if !answered => Err(error),
            _ => Ok(behind),
        }
    }

    /// The conversations that storage holds. Read after the barrier and before the rows.
    async fn held_conversations(&self) -> Result<Held, ApiError> {
        let _work = self.reads.work().await;
        let partitions = 0..topics::spec_of(topics::MESSAGES).partitions;
        let reads = partitions.map(|partition| self.store.holds(Consumer::Storage, partition, None, HELD_MAX));
        let holds = try_join_all(reads).await.map_err(faults::of_store)?;
        let whole = holds.iter().all(|holds| holds.len() < HELD_MAX);
        Ok(Held { conversations: holds.into_iter().flatten().map(|(id, _)| id).collect(), whole })
    }

    async fn sync_page(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        limit: usize,
        behind: &BTreeSet<Source>,
        held: &Held,
    ) -> Result<Vec<SyncConversation>, ApiError> {
        let _work = self.reads.work().await;
        let listed = self.store.conversations_of(user, after, limit).await.map_err(faults::of_store)?;
        let ids: Vec<_> = listed.iter().map(|row| row.conversation).collect();
        // Before the heads: a hold that ends in between has left them behind.
        let mut holds = Vec::with_capacity(ids.len());
        for id in &ids {
            holds.push(self.is_held(held, *id).await?);
        }
        let heads = self.store.heads(&ids).await.map_err(faults::of_store)?;
        let rows = self.rows_behind_heads(user, after, listed).await?;
        let marks = self.store.marks(user, &ids).await.map_err(faults::of_store)?;
        let mut list = Vec::with_capacity(rows.len());
        for (((row, head), mark), is_held) in rows.into_iter().zip(heads).zip(marks).zip(holds) {
            let id = row.conversation;
            let source = Barrier::source_of(id);
            let state = if is_held {
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
                // A user who has left is not told what came afterwards.
                head: match row.role {
                    Some(_) => head.map_or(Seq::default(), |head| head.seq),
                    None => row.changed,
                },
                mark: mark.map(view::mark),
            });
        }
        Ok(list)
    }

    /// Reads the listed rows once more, after the heads. A head must not be newer than the row beside it: a device that
    /// begins at the head filters out everything up to there, its own leaving included.
    async fn rows_behind_heads(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        listed: Vec<UserConversation>,
    ) -> Result<Vec<UserConversation>, ApiError> {
        let again = self.store.conversations_of(user, after, listed.len()).await.map_err(faults::of_store)?;
        let mut again: BTreeMap<_, _> = again.into_iter().map(|row| (row.conversation, row)).collect();
        let mut rows = Vec::with_capacity(listed.len());
        for row in listed {
            let id = row.conversation;
            rows.push(match again.remove(&id) {
                Some(row) => row,
                // A conversation that was joined meanwhile has displaced it from the page.
                None => self.store.user_conversation(user, id).await.map_err(faults::of_store)?.unwrap_or(row),
            });
        }
        Ok(rows)
    }

    async fn is_held(&self, held: &Held, id: ConversationId) -> Result<bool, ApiError> {
        if held.whole || held.conversations.contains(&id) {
            return Ok(held.conversations.contains(&id));
        }
        self.barrier.held(id).await
    }
}

/// Held conversations of one partition that are read at once; where there are more, each conversation is looked up by
/// itself.
const HELD_MAX: usize = 1000;

/// The conversations that storage holds.
struct Held {
    conversations: BTreeSet<ConversationId>,
    /// Whether these are all.
    whole: bool,
}

impl Held {
    /// Whether the user may be in a held conversation between `after` and `last` that this page does not list: the
    /// event that made them a member may have been skipped, so that no row of theirs exists yet.
    fn hides_from(
        &self,
        named: &[SyncConversation],
        after: Option<ConversationId>,
        last: Option<ConversationId>,
    ) -> bool {
        let here = |id: &&ConversationId| Some(**id) > after && last.is_none_or(|last| **id <= last);
        let unnamed = |id: &ConversationId| named.binary_search_by_key(id, |conversation| conversation.id).is_err();
        !self.whole || self.conversations.iter().filter(here).any(unnamed)
    }
}

/// The partition of `chat.receipts` with the marks of the conversations of one of `chat.messages`: both topics have the
/// same key and number of partitions, which a test checks.
fn receipts_of(source: Source) -> Source {
    Source { topic: topics::RECEIPTS, partition: source.partition }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_remembers_whether_something_may_be_missing_before_it() {
        let id = "1980395b-6c11-8d4f-9514-069b865ba53b";
        for (text, incomplete) in [(id.to_owned(), false), (format!("{id}.incomplete"), true)] {
            let cursor = parse(&text).unwrap();
            assert_eq!((cursor.conversation, cursor.incomplete), (id.parse().unwrap(), incomplete));
            assert_eq!(cursor.to_string(), text);
        }
        for bad in ["", ".incomplete", "7", &format!("{id}."), &format!("{id}.incomplete.incomplete")] {
            assert_eq!(parse(bad).unwrap_err().code, ErrorCode::BadRequest, "{bad}");
        }
    }

    #[test]
    fn marks_are_partitioned_as_messages_are() {
        assert_eq!(topics::spec_of(topics::MESSAGES).partitions, topics::spec_of(topics::RECEIPTS).partitions);
    }
}
