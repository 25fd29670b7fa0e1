//! Read marks. They are returned in a conversation's summary and in a sync.

use api::{ApiError, Caller, Json, Path};
use axum::Router;
use axum::extract::State;
use axum::routing::put;
use domain::ConversationId;
use protocol::MarkUpTo;

use crate::service::Chat;

pub(crate) fn router() -> Router<Chat> {
    Router::new().route("/v1/conversations/{conversation}/mark", put(mark))
}

/// Answers when the mark, or a higher one, is in the log.
async fn mark(
    State(chat): State<Chat>,
    caller: Caller,
    Path(conversation): Path<ConversationId>,
    Json(MarkUpTo { seq }): Json<MarkUpTo>,
) -> Result<Json<MarkUpTo>, ApiError> {
    let seq = chat.commands.mark(caller.user, conversation, seq).await?;
    Ok(Json(MarkUpTo { seq }))
}
