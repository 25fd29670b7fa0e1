//! Messages: sending, editing and deleting them, and reacting to them. They are read in `history`.

use api::{Caller, Json, Path, Query, Routes};
use axum::Extension;
use axum::extract::State;
use domain::{CommandId, ConversationId};
use process::TraceParent;
use protocol::{CommandBody, CommandFrame, CommandKind, EditBody, ReactBody, SendBody, UnreactBody};

use crate::service::{Chat, Logged};

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new()
        .post("/v1/conversations/{conversation}/messages", send)
        .put("/v1/conversations/{conversation}/messages/{message}", edit)
        .delete("/v1/conversations/{conversation}/messages/{message}", delete)
        .put("/v1/conversations/{conversation}/messages/{message}/reaction", react)
        .delete("/v1/conversations/{conversation}/messages/{message}/reaction", unreact)
}

async fn send(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path(conversation): Path<ConversationId>,
    Json(message): Json<SendBody>,
) -> Logged {
    let SendBody { id, body, reply_to, thread, also_in_conversation, quote, mentions, content } = message;
    let what = CommandKind::Send { body, reply_to, thread, also_in_conversation, quote, mentions, content };
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, what)).await
}

async fn edit(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path((conversation, target)): Path<(ConversationId, CommandId)>,
    Json(EditBody { id, body, mentions, content }): Json<EditBody>,
) -> Logged {
    let what = CommandKind::Edit { target, body, mentions, content };
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, what)).await
}

async fn delete(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path((conversation, target)): Path<(ConversationId, CommandId)>,
    Query(CommandBody { id }): Query<CommandBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::Delete { target })).await
}

async fn react(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path((conversation, target)): Path<(ConversationId, CommandId)>,
    Json(ReactBody { id, emoji }): Json<ReactBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::React { target, emoji })).await
}

async fn unreact(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path((conversation, target)): Path<(ConversationId, CommandId)>,
    Query(UnreactBody { id, emoji }): Query<UnreactBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::Unreact { target, emoji })).await
}
