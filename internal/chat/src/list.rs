//! The caller's conversations, the most recently active first.
//!
//! No table is sorted by recency, because rows would have to move: the user's rows and the heads of the conversations
//! that the user is in are read, sorted here, and paged by (time, conversation). Both are bounded, by [`ROW_PAGES_MAX`]
//! and [`LISTED_MAX`]; beyond, conversations are left out, those with the highest ids. Only the sync names all.

use api::{ApiError, Caller, ConversationPage, ErrorCode, Json, Query};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use commands::faults;
use domain::{ConversationId, UserId};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use store::Head;

use crate::paging;
use crate::service::Chat;

/// The most conversations of one page: each costs a few reads.
const CONVERSATIONS_MAX: usize = 100;
/// Conversations of one page that are read at the same time.
const AT_ONCE: usize = 16;

pub(crate) fn router() -> Router<Chat> {
    Router::new().route("/v1/conversations", get(list))
}

#[derive(Deserialize)]
struct ListQuery {
    page: Option<String>,
    limit: Option<i64>,
}

/// The most conversations that the list names. Of those that somebody is in beyond it, the ones with the highest ids
/// are left out, however lately something was said there: whatever else decides would take a head for each.
const LISTED_MAX: usize = 1000;
/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 1000;
/// How often that is done for one answer. Conversations that were left do not count as listed, but their rows are read
/// and passed over: of somebody with more than this, the rest is left out.
const ROW_PAGES_MAX: usize = 10;

/// Where a conversation stands in the list: later ones first.
type Place = (i64, ConversationId);

async fn list(
    State(chat): State<Chat>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<ConversationPage>, ApiError> {
    let limit = paging::limit(query.limit, CONVERSATIONS_MAX)?;
    let from = query.page.as_deref().map(parse).transpose()?;
    let mut places = chat.places(caller.user).await?;
    places.retain(|(place, _)| from.is_none_or(|from| *place < from));
    places.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let more = places.len() > limit;
    places.truncate(limit);
    let next = places.last().filter(|_| more).map(|((time, id), _)| format!("{time}.{id}"));

    let ids: Vec<_> = places.iter().map(|((_, conversation), _)| *conversation).collect();
    let marks = chat.store.marks(caller.user, &ids).await.map_err(faults::of_store)?;
    let summaries = places
        .into_iter()
        .zip(marks)
        .map(|(((_, conversation), head), mark)| chat.summary_at(caller.user, conversation, head, mark));
    // Who was removed meanwhile is left out.
    let conversations: Vec<_> = stream::iter(summaries).buffered(AT_ONCE).try_collect().await?;
    Ok(Json(ConversationPage { conversations: conversations.into_iter().flatten().collect(), next }))
}

impl Chat {
    async fn places(&self, user: UserId) -> Result<Vec<(Place, Head)>, ApiError> {
        let ids = self.memberships(user).await?;
        let heads = self.store.heads(&ids).await.map_err(faults::of_store)?;
        let placed = ids.into_iter().zip(heads).filter_map(|(id, head)| head.map(|head| ((head.time_ms, id), head)));
        Ok(placed.collect())
    }

    /// The conversations that the user is in, by id, within the bounds of the list.
    async fn memberships(&self, user: UserId) -> Result<Vec<ConversationId>, ApiError> {
        let (mut ids, mut after) = (Vec::new(), None);
        for _ in 0..ROW_PAGES_MAX {
            let rows = self.store.conversations_of(user, after, ROWS_AT_ONCE).await.map_err(faults::of_store)?;
            ids.extend(rows.iter().filter(|row| row.role.is_some()).map(|row| row.conversation));
            after = rows.last().map(|row| row.conversation);
            if ids.len() >= LISTED_MAX || rows.len() < ROWS_AT_ONCE {
                break;
            }
        }
        ids.truncate(LISTED_MAX);
        Ok(ids)
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
