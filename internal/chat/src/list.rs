//! The caller's conversations, the most recently active first.
//!
//! No table is sorted by recency, because rows would have to move: the user's rows and the heads of the user's
//! conversations are read, sorted here, and paged by (time, conversation). All rows are read, whatever their number and
//! ids: otherwise somebody who chooses ids of new conversations could hide the real ones. Memory is bounded by
//! [`ROWS_AT_ONCE`] and a page.

use std::pin::pin;

use api::{ApiError, Json, Query, Routes};
use axum::extract::State;
use commands::faults;
use domain::{ConversationId, UserId};
use futures_util::{StreamExt, TryStreamExt, stream};
use protocol::{ConversationBody, ConversationPage, ErrorCode};
use serde::Deserialize;
use store::Head;

use crate::paging::{self, PAGE_BYTES_MAX};
use crate::service::{Chat, Reader};

/// The most conversations of one page: each costs a few reads.
pub const CONVERSATIONS_MAX: usize = 100;
/// Conversations of one page that are read at the same time.
const AT_ONCE: usize = 16;

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new().get("/v1/conversations", list)
}

#[derive(Deserialize)]
struct ListQuery {
    page: Option<String>,
    limit: Option<i64>,
    /// Whether to list only groups that somebody added the caller to and that the caller has not accepted, or only all
    /// others.
    invitations: Option<bool>,
}

/// Rows, and heads of their conversations, that are read at once.
const ROWS_AT_ONCE: usize = 1000;

/// Bytes of a summary beside its texts.
const SUMMARY_BYTES: usize = 800;

/// The sort key of the list, which is also its page cursor: the time of the last event, and the conversation. Later
/// ones come first.
type ListCursor = (i64, ConversationId);

async fn list(
    State(chat): State<Chat>,
    caller: Reader,
    Query(query): Query<ListQuery>,
) -> Result<Json<ConversationPage>, ApiError> {
    let limit = paging::limit(query.limit, CONVERSATIONS_MAX)?;
    let from = query.page.as_deref().map(parse).transpose()?;
    let mut cursors = chat.first_by_activity(caller.user, query.invitations, from, limit + 1).await?;
    let more = cursors.len() > limit;
    cursors.truncate(limit);
    let ids: Vec<_> = cursors.iter().map(|((_, conversation), _)| *conversation).collect();
    let read = chat.reads_of(caller.user, &ids).await?;
    let summaries = cursors.into_iter().zip(read).map(|((cursor, head), read)| {
        let summary = chat.summary_at(caller.user, cursor.1, head, read);
        async move { Ok::<_, ApiError>((cursor, summary.await?)) }
    });
    let mut summaries = pin!(stream::iter(summaries).buffered(AT_ONCE));
    let (mut conversations, mut last, mut bytes) = (Vec::new(), None, 0);
    while let Some((cursor, summary)) = summaries.try_next().await? {
        // A conversation that the user was removed from meanwhile is left out.
        if let Some(summary) = summary {
            bytes += bytes_of(&summary);
            if bytes > PAGE_BYTES_MAX && !conversations.is_empty() {
                // This conversation begins the next page.
                return Ok(Json(ConversationPage { conversations, next: last.map(text_of) }));
            }
            conversations.push(summary);
        }
        last = Some(cursor);
    }
    Ok(Json(ConversationPage { conversations, next: last.filter(|_| more).map(text_of) }))
}

/// The text that a client sends back to go on behind that conversation.
fn text_of((time, id): ListCursor) -> String {
    format!("{time}.{id}")
}

/// Bytes of a summary as JSON, about.
fn bytes_of(summary: &ConversationBody) -> usize {
    let last = summary.last_message.as_ref();
    let data = last.and_then(|entry| entry.content.as_ref()).map(|content| &content.data);
    let texts = last.and_then(|entry| entry.body.as_ref()).into_iter().chain(data);
    let text: usize = texts.map(|text| paging::bytes_of_text(text.reveal())).sum();
    let mentioned = last.and_then(|entry| entry.mentions.as_ref()).map_or(0, |mentions| mentions.users.len());
    let emojis = last.into_iter().flat_map(|entry| &entry.reactions).map(|reaction| reaction.emoji.as_str());
    SUMMARY_BYTES
        + text
        + mentioned * paging::USER_BYTES
        + paging::bytes_of_reactions(emojis)
        + paging::bytes_of_text(&summary.title)
}

impl Chat {
    /// The sort keys of the first `count` conversations behind `from` that the user is in, with their heads, in order.
    async fn first_by_activity(
        &self,
        user: UserId,
        invitations: Option<bool>,
        from: Option<ListCursor>,
        count: usize,
    ) -> Result<Vec<(ListCursor, Head)>, ApiError> {
        let (mut cursors, mut after) = (Vec::new(), None);
        loop {
            let _work = self.reads.work().await;
            let rows = self.store.conversations_of(user, after, ROWS_AT_ONCE).await.map_err(faults::of_store)?;
            let mut ids: Vec<_> = rows.iter().filter(|row| row.role.is_some()).map(|row| row.conversation).collect();
            if let Some(invitations) = invitations {
                let read = self.reads_of(user, &ids).await?;
                let wanted = read.into_iter().map(|read| read.invited_by().is_some() == invitations);
                ids = ids.into_iter().zip(wanted).filter_map(|(id, wanted)| wanted.then_some(id)).collect();
            }
            let heads = self.store.heads(&ids).await.map_err(faults::of_store)?;
            let placed =
                ids.into_iter().zip(heads).filter_map(|(id, head)| head.map(|head| ((head.time_ms, id), head)));
            cursors.extend(placed.filter(|(cursor, _)| from.is_none_or(|from| *cursor < from)));
            cursors.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
            cursors.truncate(count);
            after = rows.last().map(|row| row.conversation);
            if rows.len() < ROWS_AT_ONCE {
                return Ok(cursors);
            }
        }
    }
}

/// Parses the page cursor: the time of the last event, and the conversation.
///
/// # Errors
/// When the text is not one that an earlier page has returned.
pub fn parse(page: &str) -> Result<ListCursor, ApiError> {
    let cursor = page.split_once('.').and_then(|(time, id)| Some((time.parse().ok()?, id.parse().ok()?)));
    cursor
        .ok_or_else(|| ApiError::new(ErrorCode::BadRequest, "page: send back the 'next' of the page before as it was"))
}
