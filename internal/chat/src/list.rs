//! The caller's conversations, the most recently active first.
//!
//! No table is sorted by recency, because rows would have to move: the user's rows and the heads of the conversations
//! that the user is in are read, sorted here, and paged by (time, conversation). All rows are read, however many and
//! whatever their ids: who could make others' conversations the first thousand would hide the real ones. What is held in
//! memory meanwhile is bounded by [`ROWS_AT_ONCE`] and a page.

use std::pin::pin;

use api::{ApiError, Json, Query};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
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

pub(crate) fn router() -> Router<Chat> {
    Router::new().route("/v1/conversations", get(list))
}

#[derive(Deserialize)]
struct ListQuery {
    page: Option<String>,
    limit: Option<i64>,
    /// Only groups that the caller was taken into and has not accepted, or only what is not one of those.
    invitations: Option<bool>,
}

/// Rows, and heads of their conversations, that are read at once.
const ROWS_AT_ONCE: usize = 1000;

/// What a summary takes beside its texts.
const SUMMARY_BYTES: usize = 800;

/// Where a conversation stands in the list: later ones first.
type Place = (i64, ConversationId);

async fn list(
    State(chat): State<Chat>,
    caller: Reader,
    Query(query): Query<ListQuery>,
) -> Result<Json<ConversationPage>, ApiError> {
    let limit = paging::limit(query.limit, CONVERSATIONS_MAX)?;
    let from = query.page.as_deref().map(parse).transpose()?;
    let mut places = chat.places(caller.user, query.invitations, from, limit + 1).await?;
    let more = places.len() > limit;
    places.truncate(limit);
    let ids: Vec<_> = places.iter().map(|((_, conversation), _)| *conversation).collect();
    let read = chat.reads_of(caller.user, &ids).await?;
    let summaries = places.into_iter().zip(read).map(|((place, head), read)| {
        let summary = chat.summary_at(caller.user, place.1, head, read);
        async move { Ok::<_, ApiError>((place, summary.await?)) }
    });
    let mut summaries = pin!(stream::iter(summaries).buffered(AT_ONCE));
    let (mut conversations, mut last, mut bytes) = (Vec::new(), None, 0);
    while let Some((place, summary)) = summaries.try_next().await? {
        // Who was removed meanwhile is left out.
        if let Some(summary) = summary {
            bytes += bytes_of(&summary);
            if bytes > PAGE_BYTES_MAX && !conversations.is_empty() {
                // This one begins the next page.
                return Ok(Json(ConversationPage { conversations, next: last.map(name) }));
            }
            conversations.push(summary);
        }
        last = Some(place);
    }
    Ok(Json(ConversationPage { conversations, next: last.filter(|_| more).map(name) }))
}

/// What a client sends back to go on behind that place.
fn name((time, id): Place) -> String {
    format!("{time}.{id}")
}

/// Bytes of a summary as JSON, about.
fn bytes_of(summary: &ConversationBody) -> usize {
    let last = summary.last_message.as_ref();
    let text = last.and_then(|entry| entry.body.as_ref()).map_or(0, |body| paging::bytes_of_text(body.reveal()));
    let emojis = last.into_iter().flat_map(|entry| &entry.reactions).map(|reaction| reaction.emoji.as_str());
    SUMMARY_BYTES + text + paging::bytes_of_reactions(emojis) + paging::bytes_of_text(&summary.title)
}

impl Chat {
    /// The first `count` places behind `from` of the conversations that the user is in, with their heads, in order.
    async fn places(
        &self,
        user: UserId,
        invitations: Option<bool>,
        from: Option<Place>,
        count: usize,
    ) -> Result<Vec<(Place, Head)>, ApiError> {
        let (mut places, mut after) = (Vec::new(), None);
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
            places.extend(placed.filter(|(place, _)| from.is_none_or(|from| *place < from)));
            places.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
            places.truncate(count);
            after = rows.last().map(|row| row.conversation);
            if rows.len() < ROWS_AT_ONCE {
                return Ok(places);
            }
        }
    }
}

/// The place that a page of the list begins behind: the time of its last event, and the conversation.
///
/// # Errors
/// When the text is not one that a page before has named.
pub fn parse(page: &str) -> Result<Place, ApiError> {
    let place = page.split_once('.').and_then(|(time, id)| Some((time.parse().ok()?, id.parse().ok()?)));
    place.ok_or_else(|| ApiError::new(ErrorCode::BadRequest, "page: send back the 'next' of the page before as it was"))
}
