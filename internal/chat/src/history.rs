//! The timeline of a conversation, by key in both directions.

use api::{ApiError, Json, Path, Query, Routes};
use axum::extract::State;
use commands::{Barrier, faults};
use domain::{CommandId, ConversationId, IdRow, MembershipSpan, Seq, Stands, UserId};
use protocol::{EntryBody, ErrorCode, HistoryPage};
use serde::Deserialize;
use store::{Direction, Entry, Page};

use crate::paging::{self, ENTRIES_AT_ONCE, PAGE_MAX};
use crate::reading::Reading;
use crate::service::{Chat, Reader};
use crate::view;

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new()
        .get("/v1/conversations/{conversation}/messages", history)
        .get("/v1/conversations/{conversation}/messages/{message}", message)
}

/// What a client may say of a page.
#[derive(Deserialize)]
pub(crate) struct HistoryQuery {
    pub(crate) before: Option<Seq>,
    pub(crate) after: Option<Seq>,
    pub(crate) limit: Option<i64>,
    pub(crate) at_least: Option<Seq>,
}

/// The end of a page that the client names, and the page's direction.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    /// Towards older entries.
    Before(Option<Seq>),
    /// Towards newer entries.
    After(Seq),
}

impl Anchor {
    /// # Errors
    /// `bad_request` when both are named.
    pub(crate) fn of(before: Option<Seq>, after: Option<Seq>) -> Result<Self, ApiError> {
        match (before, after) {
            (Some(_), Some(_)) => {
                Err(ApiError::new(ErrorCode::BadRequest, "a page goes 'before' or 'after', not both"))
            }
            (before, None) => Ok(Self::Before(before)),
            (None, Some(after)) => Ok(Self::After(after)),
        }
    }
}

async fn history(
    State(chat): State<Chat>,
    caller: Reader,
    Path(conversation): Path<ConversationId>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryPage>, ApiError> {
    let (anchor, limit) = (Anchor::of(query.before, query.after)?, paging::limit(query.limit, PAGE_MAX)?);
    let mut reading = chat.open_as_asked(caller.user, conversation, query.at_least).await?;
    let entries = chat.page(conversation, &reading, anchor, limit + 1).await?;
    chat.shown(caller.user, conversation, &mut reading, entries, (anchor, limit)).await.map(Json)
}

/// Returns one message: what a reply quotes, or a link leads to.
async fn message(
    State(chat): State<Chat>,
    caller: Reader,
    Path((conversation, id)): Path<(ConversationId, CommandId)>,
) -> Result<Json<EntryBody>, ApiError> {
    let (entry, whole, left) = chat.message(caller.user, conversation, id).await?.ok_or_else(no_such_message)?;
    Ok(Json(view::entry(entry, whole, left)))
}

/// The answer for a message that does not exist, and for one that the reader may not see.
pub(crate) fn no_such_message() -> ApiError {
    ApiError::new(ErrorCode::NoSuchMessage, "there is no message of this id that you may read here")
}

impl Chat {
    /// The page that begins with these entries, with what the reader may see of them. One more than its limit were read, if
    /// there are so many.
    pub(crate) async fn shown(
        &self,
        user: UserId,
        conversation: ConversationId,
        reading: &mut Reading,
        mut entries: Vec<Entry>,
        (anchor, limit): (Anchor, usize),
    ) -> Result<HistoryPage, ApiError> {
        self.make_whole(user, conversation, reading, &mut entries).await?;
        let fits = paging::fitting(entries.iter().map(paging::bytes_of)).min(limit);
        let more = entries.len() > fits;
        entries.truncate(fits);
        if matches!(anchor, Anchor::Before(_)) {
            entries.reverse();
        }
        let (left, whole) = (reading.left(), reading.head.seq);
        let entries = entries.into_iter().map(|entry| view::entry(entry, whole, left)).collect();
        // A user who has left is not told how much came afterwards.
        let head = left.map_or(whole, |left| left.min(whole));
        Ok(HistoryPage { head, entries, more })
    }

    /// As [`Self::find`]; a message that is not found is looked for again when storage has passed the present end of the log.
    pub(crate) async fn message(
        &self,
        user: UserId,
        conversation: ConversationId,
        id: CommandId,
    ) -> Result<Option<(Entry, Seq, Option<Seq>)>, ApiError> {
        let found = self.find(user, conversation, id).await?;
        if found.is_some() {
            return Ok(found);
        }
        self.pass_log_end(conversation).await?;
        self.find(user, conversation, id).await
    }

    /// The message that was sent as `id`, if the reader may see it, with the head as read before it and the time of the
    /// reader's leaving.
    async fn find(
        &self,
        user: UserId,
        conversation: ConversationId,
        id: CommandId,
    ) -> Result<Option<(Entry, Seq, Option<Seq>)>, ApiError> {
        let mut reading = self.open(user, conversation).await?;
        let row = self.store.id(conversation, id, reading.head.seq).await.map_err(faults::of_store)?;
        let Some(IdRow { seq, stands: Stands::Message { slot }, .. }) = row else { return Ok(None) };
        if !reading.spans.contain(seq) {
            return Ok(None);
        }
        let entry = self.store.entry(conversation, slot, seq).await.map_err(faults::of_store)?;
        let mut entries: Vec<Entry> = entry.into_iter().collect();
        self.make_whole(user, conversation, &mut reading, &mut entries).await?;
        Ok(entries.pop().map(|entry| (entry, reading.head.seq, reading.left())))
    }

    /// At most `limit` entries from the anchor on, in the page's direction: those within the reader's spans, up to the
    /// head.
    ///
    /// Each span has at least one entry, that of the joining: so there are never more reads than entries.
    async fn page(
        &self,
        conversation: ConversationId,
        reading: &Reading,
        anchor: Anchor,
        limit: usize,
    ) -> Result<Vec<Entry>, ApiError> {
        let head = reading.head.seq;
        let spans: Vec<MembershipSpan> = match anchor {
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
            let (mut from, direction) = match anchor {
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
            let until = entries.len() + left;
            // Read portion by portion: entries that no page has room for are not read.
            while entries.len() < until && paging::fitting(entries.iter().map(paging::bytes_of)) == entries.len() {
                let portion = (until - entries.len()).min(ENTRIES_AT_ONCE);
                let page = Page { anchor: from, direction, limit: portion };
                let rows = {
                    let _work = self.reads.work().await;
                    self.store.timeline(conversation, page).await.map_err(faults::of_store)?
                };
                let (read, before) = (rows.len(), entries.len());
                from = rows.last().map(|entry| entry.seq);
                entries.extend(rows.into_iter().take_while(|entry| span.contains(entry.seq) && entry.seq <= head));
                if read < portion || entries.len() - before < read {
                    break;
                }
            }
        }
        Ok(entries)
    }

    /// Makes sure that the memberships cover the newest change in `entries`; see `reading`.
    async fn make_whole(
        &self,
        user: UserId,
        conversation: ConversationId,
        reading: &mut Reading,
        entries: &mut Vec<Entry>,
    ) -> Result<(), ApiError> {
        let newest = entries.iter().map(Entry::newest).max();
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
