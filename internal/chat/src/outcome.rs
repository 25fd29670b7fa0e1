//! The fate of a command: what stands under its id, and giving it up.

use api::{ApiError, Caller, CommandBody, CommandFrame, Json, OutcomeBody, OutcomeState, Path};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Extension, Router};
use commands::{Barrier, faults};
use domain::{CommandId, ConversationId};
use runtime::TraceParent;

use crate::reading::NEWEST;
use crate::service::{Chat, Logged};

pub(crate) fn router() -> Router<Chat> {
    Router::new()
        .route("/v1/conversations/{conversation}/outcome/{id}", get(outcome))
        .route("/v1/conversations/{conversation}/withdraw", post(withdraw))
}

/// Needs no membership: who was removed still learns what became of a command, and nobody learns of another's.
async fn outcome(
    State(chat): State<Chat>,
    caller: Caller,
    Path((conversation, id)): Path<(ConversationId, CommandId)>,
) -> Result<Json<OutcomeBody>, ApiError> {
    if !chat.barrier.passed(Barrier::source_of(conversation), chat.read_wait).await? {
        return Err(faults::retry());
    }
    if chat.barrier.held(conversation).await? {
        return Err(faults::held());
    }
    // A row ahead of `applied` counts, too: what is written was decided at log order.
    let row = chat.store.id(conversation, id, NEWEST).await.map_err(faults::of_store)?;
    let body = match row.filter(|row| row.author == caller.user) {
        Some(row) => {
            OutcomeBody { id, outcome: OutcomeState::Settled, seq: Some(row.seq), stands: Some(row.stands.into()) }
        }
        None => OutcomeBody { id, outcome: OutcomeState::Absent, seq: None, stands: None },
    };
    Ok(Json(body))
}

async fn withdraw(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path(conversation): Path<ConversationId>,
    Json(CommandBody { id }): Json<CommandBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::Withdraw { id, conversation }).await
}
