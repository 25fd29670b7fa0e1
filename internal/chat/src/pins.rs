//! Pins: messages that everybody is to find.

use api::{ApiError, Caller, Json, Path, Query, Routes};
use axum::Extension;
use axum::extract::State;
use domain::{CommandId, ConversationId};
use process::TraceParent;
use protocol::{CommandBody, CommandFrame, CommandKind, HistoryPage};

use crate::history::HistoryQuery;
use crate::parts::Part;
use crate::service::{Chat, Logged, Reader};

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new()
        .put("/v1/conversations/{conversation}/messages/{message}/pin", pin)
        .delete("/v1/conversations/{conversation}/messages/{message}/pin", unpin)
        .get("/v1/conversations/{conversation}/pins", pins)
}

async fn pin(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path((conversation, target)): Path<(ConversationId, CommandId)>,
    Json(CommandBody { id }): Json<CommandBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::Pin { target })).await
}

async fn unpin(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path((conversation, target)): Path<(ConversationId, CommandId)>,
    Query(CommandBody { id }): Query<CommandBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::Unpin { target })).await
}

/// The pinned messages that the reader may read, by their own seqs.
async fn pins(
    State(chat): State<Chat>,
    caller: Reader,
    Path(conversation): Path<ConversationId>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryPage>, ApiError> {
    chat.part_asked_for(caller.user, conversation, &query, Part::Pins).await
}
