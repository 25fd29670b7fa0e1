//! The timeline of a conversation, by key in both directions.

use api::{ApiError, Caller, ErrorCode, HistoryPage, Json, Path, Query};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use commands::{Barrier, faults};
use domain::{ConversationId, Seq, UserId};
use serde::Deserialize;
use store::{Direction, Entry, Page};

use crate::paging::{self, PAGE_MAX};
use crate::reading::{Reading, Span};
use crate::service::Chat;
use crate::view;

pub(crate) fn router() -> Router<Chat> {
    Router::new().route("/v1/conversations/{conversation}/messages", get(history))
}

#[derive(Deserialize)]
struct HistoryQuery {
    before: Option<Seq>,
    after: Option<Seq>,
    limit: Option<i64>,
    at_least: Option<Seq>,
}

/// Where a page begins and which way it goes.
#[derive(Debug, Clone, Copy)]
enum Anchor {
    /// Towards older entries.
    Before(Option<Seq>),
    /// Towards newer entries.
    After(Seq),
}

async fn history(
    State(chat): State<Chat>,
    caller: Caller,
    Path(conversation): Path<ConversationId>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryPage>, ApiError> {
    let limit = paging::limit(query.limit, PAGE_MAX)?;
    let anchor = match (query.before, query.after) {
        (Some(_), Some(_)) => {
            return Err(ApiError::new(ErrorCode::BadRequest, "a page goes 'before' or 'after', not both"));
        }
        (before, None) => Anchor::Before(before),
        (None, Some(after)) => Anchor::After(after),
    };
    if let Some(seq) = query.at_least {
        let source = Barrier::source_of(conversation);
        if !chat.barrier.applied(source, seq, chat.read_wait).await? {
            return Err(faults::retry());
        }
    }
    let mut reading = chat.open(caller.user, conversation).await?;
    let mut entries = chat.page(conversation, &reading, anchor, limit + 1).await?;
    chat.make_whole(caller.user, conversation, &mut reading, &mut entries).await?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    if matches!(anchor, Anchor::Before(_)) {
        entries.reverse();
    }
    let left = reading.left();
    let entries = entries.into_iter().map(|entry| view::entry(entry, left)).collect();
    Ok(Json(HistoryPage { head: reading.head.seq, entries, more }))
}

impl Chat {
    /// At most `limit` entries from the anchor on, in the page's direction: those of the reader's spans, up to the head.
    ///
    /// Each span has an entry at least, that of the joining: so there are never more reads than entries.
    async fn page(
        &self,
        conversation: ConversationId,
        reading: &Reading,
        anchor: Anchor,
        limit: usize,
    ) -> Result<Vec<Entry>, ApiError> {
        let head = reading.head.seq;
        let spans: Vec<Span> = match anchor {
            Anchor::Before(_) => reading.spans.iter().rev().collect(),
            Anchor::After(_) => reading.spans.iter().collect(),
        };
        let mut entries = Vec::new();
        for span in spans {
            let left = limit - entries.len();
            if left == 0 {
                break;
            }
            // Both anchors are exclusive.
            let (from, direction) = match anchor {
                Anchor::Before(before) => {
                    let ceiling = span.to.unwrap_or(head).min(head).next();
                    (Some(before.map_or(ceiling, |before| before.min(ceiling))), Direction::Before)
                }
                Anchor::After(after) => (Some(after).max(span.from.before()), Direction::After),
            };
            let beyond = match anchor {
                Anchor::Before(_) => from.is_some_and(|from| from <= span.from),
                Anchor::After(after) => span.to.unwrap_or(head).min(head) <= after,
            };
            if beyond {
                continue;
            }
            let page = Page { anchor: from, direction, limit: left };
            let rows = self.store.timeline(conversation, page).await.map_err(faults::of_store)?;
            entries.extend(rows.into_iter().take_while(|entry| span.contains(entry.seq) && entry.seq <= head));
        }
        Ok(entries)
    }

    /// Makes sure that the memberships read cover the newest change in `entries`; see `reading`.
    async fn make_whole(
        &self,
        user: UserId,
        conversation: ConversationId,
        reading: &mut Reading,
        entries: &mut Vec<Entry>,
    ) -> Result<(), ApiError> {
        let newest = entries.iter().map(|entry| entry.changed).max();
        let Some(newest) = newest.filter(|newest| *newest > reading.head.seq) else { return Ok(()) };
        if !self.barrier.applied(Barrier::source_of(conversation), newest, self.read_wait).await? {
            return Err(faults::retry());
        }
        if self.barrier.held(conversation).await? {
            return Err(faults::held());
        }
        reading.spans = self.spans(user, conversation).await?;
        entries.retain(|entry| reading.spans.contain(entry.seq));
        Ok(())
    }
}
