//! Threads: the messages of one, and the messages under which there are some.

use api::{ApiError, Json, Path, Query, Routes};
use axum::extract::State;
use commands::faults;
use domain::{CommandId, ConversationId, IdRow, Seq, Stands};
use protocol::HistoryPage;
use serde::Deserialize;

use crate::history::{Anchor, HistoryQuery, no_such_message};
use crate::paging::{self, PAGE_MAX};
use crate::parts::Part;
use crate::service::{Chat, Reader};

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new()
        .get("/v1/conversations/{conversation}/messages/{message}/thread", thread)
        .get("/v1/conversations/{conversation}/threads", threads)
}

#[derive(Deserialize)]
struct ThreadsQuery {
    before: Option<Seq>,
    limit: Option<i64>,
    at_least: Option<Seq>,
}

/// The messages of a thread. Who joined after its root may read those that were sent since.
async fn thread(
    State(chat): State<Chat>,
    caller: Reader,
    Path((conversation, id)): Path<(ConversationId, CommandId)>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryPage>, ApiError> {
    let page = (Anchor::of(query.before, query.after)?, paging::limit(query.limit, PAGE_MAX)?);
    let mut reading = chat.open_as_asked(caller.user, conversation, query.at_least).await?;
    let mut root = chat.root(conversation, id, reading.head.seq).await?;
    if root.is_none() {
        chat.pass_log_end(conversation).await?;
        reading = chat.open(caller.user, conversation).await?;
        root = chat.root(conversation, id, reading.head.seq).await?;
    }
    let (root, user) = (root.ok_or_else(no_such_message)?, caller.user);
    let found = chat.part_page(user, conversation, &mut reading, Part::Thread(root), page).await?;
    // Who may read neither the root nor anything under it does not learn that it exists.
    if found.entries.is_empty() && !reading.spans.contain(root) {
        let newest = (Anchor::Before(None), 1);
        let seen = chat.part_page(user, conversation, &mut reading, Part::Thread(root), newest).await?;
        if seen.entries.is_empty() {
            return Err(no_such_message());
        }
    }
    Ok(Json(found))
}

/// The messages under which there are threads, by their own seqs.
async fn threads(
    State(chat): State<Chat>,
    caller: Reader,
    Path(conversation): Path<ConversationId>,
    Query(query): Query<ThreadsQuery>,
) -> Result<Json<HistoryPage>, ApiError> {
    let ThreadsQuery { before, limit, at_least } = query;
    let query = HistoryQuery { before, after: None, limit, at_least };
    chat.part_asked_for(caller.user, conversation, &query, Part::Roots).await
}

impl Chat {
    /// The seq of a message.
    async fn root(&self, conversation: ConversationId, id: CommandId, as_of: Seq) -> Result<Option<Seq>, ApiError> {
        Ok(match self.store.id(conversation, id, as_of).await.map_err(faults::of_store)? {
            Some(IdRow { seq, stands: Stands::Message { .. }, .. }) => Some(seq),
            Some(_) | None => None,
        })
    }
}
