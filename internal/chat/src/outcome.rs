//! The outcome of a command: what is recorded under its id, and withdrawing it.

use api::{ApiError, Caller, Json, Path, Routes};
use axum::Extension;
use axum::extract::State;
use commands::faults;
use domain::{CommandId, ConversationId};
use process::TraceParent;
use protocol::{CommandBody, CommandFrame, CommandKind, OutcomeBody, OutcomeState};

use crate::reading::NEWEST;
use crate::service::{Chat, Logged, Reader};

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new()
        .get("/v1/conversations/{conversation}/outcome/{id}", outcome)
        .post("/v1/conversations/{conversation}/withdraw", withdraw)
}

/// Needs no membership: a removed member still learns the outcome of a command, and only of their own commands.
async fn outcome(
    State(chat): State<Chat>,
    caller: Reader,
    Path((conversation, id)): Path<(ConversationId, CommandId)>,
) -> Result<Json<OutcomeBody>, ApiError> {
    chat.pass_log_end(conversation).await?;
    if chat.barrier.held(conversation).await? {
        return Err(faults::held());
    }
    // A row ahead of `applied` counts, too: what is written was decided at log order.
    let row = chat.store.id(conversation, id, NEWEST).await.map_err(faults::of_store)?;
    let none = OutcomeBody { id, outcome: OutcomeState::Absent, seq: None, stands: None, code: None, message: None };
    if let Some(row) = row.filter(|row| row.author == caller.user) {
        let (seq, stands) = (Some(row.seq), Some(row.stands.into()));
        return Ok(Json(OutcomeBody { outcome: OutcomeState::Settled, seq, stands, ..none }));
    }
    let refusal = chat.store.refusal(conversation, caller.user, id).await.map_err(faults::of_store)?;
    let Some((reason, seq)) = refusal else { return Ok(Json(none)) };
    let (code, message) = (Some(reason.into()), Some(protocol::sentence(reason).to_owned()));
    Ok(Json(OutcomeBody { outcome: OutcomeState::Refused, seq: Some(seq), code, message, ..none }))
}

async fn withdraw(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path(conversation): Path<ConversationId>,
    Json(CommandBody { id }): Json<CommandBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::Withdraw {})).await
}
