//! Read marks. They are returned in a conversation's summary and in a sync.

use api::{ApiError, Caller, Json, Path, Routes};
use axum::extract::State;
use domain::ConversationId;
use process::command_seconds::MARK_KIND;
use protocol::MarkUpTo;

use crate::service::Chat;

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new().put("/v1/conversations/{conversation}/mark", mark)
}

/// Answers when the mark, or a higher one, is in the log.
async fn mark(
    State(chat): State<Chat>,
    caller: Caller,
    Path(conversation): Path<ConversationId>,
    Json(MarkUpTo { seq }): Json<MarkUpTo>,
) -> Result<Json<MarkUpTo>, ApiError> {
    let timer = chat.command_seconds.begin(MARK_KIND);
    let marked = chat.commands.mark(caller.user, conversation, seq).await;
    timer.answered(marked.as_ref().err().map(|refusal| refusal.code));
    Ok(Json(MarkUpTo { seq: marked? }))
}
