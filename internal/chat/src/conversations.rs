//! Conversations: open one, read its summary, rename it.

use api::{ApiError, Caller, Json, Path, Routes};
use axum::Extension;
use axum::extract::State;
use commands::faults;
use domain::ConversationId;
use process::TraceParent;
use protocol::{CommandFrame, CommandKind, ConversationBody, CreateBody, TitleBody};

use crate::service::{Chat, Logged, Reader};

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new()
        .post("/v1/conversations", create)
        .get("/v1/conversations/{conversation}", show)
        .put("/v1/conversations/{conversation}/title", change_title)
}

async fn create(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Json(CreateBody { id, kind, title, members }): Json<CreateBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, None, CommandKind::Create { kind, title, members })).await
}

async fn show(
    State(chat): State<Chat>,
    caller: Reader,
    Path(conversation): Path<ConversationId>,
) -> Result<Json<ConversationBody>, ApiError> {
    let reading = chat.open(caller.user, conversation).await?;
    let body = match reading.left() {
        None => {
            let read = chat.read_of(caller.user, conversation).await?;
            let body = chat.summary_at(caller.user, conversation, reading.head, read).await?;
            body.ok_or_else(faults::not_member)?
        }
        Some(left) => chat.summary_as_left(caller.user, conversation, left).await?,
    };
    Ok(Json(body))
}

async fn change_title(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path(conversation): Path<ConversationId>,
    Json(TitleBody { id, title }): Json<TitleBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::ChangeTitle { title })).await
}
