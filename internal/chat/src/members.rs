//! The members of a conversation.

use api::{ApiError, Caller, Json, Path, Query, Routes};
use axum::Extension;
use axum::extract::State;
use commands::faults;
use domain::{ConversationId, Membership, UserId};
use process::TraceParent;
use protocol::{AddMembersBody, CommandBody, CommandFrame, CommandKind, MemberBody, MemberPage, RoleBody};
use serde::Deserialize;

use crate::paging::{self, PAGE_MAX};
use crate::service::{Chat, Logged, Reader};

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new()
        .get("/v1/conversations/{conversation}/members", list)
        .post("/v1/conversations/{conversation}/members", add)
        .delete("/v1/conversations/{conversation}/members/{user}", remove)
        .put("/v1/conversations/{conversation}/members/{user}/role", change_role)
        .post("/v1/conversations/{conversation}/leave", leave)
}

#[derive(Deserialize)]
struct MembersQuery {
    after: Option<UserId>,
    limit: Option<i64>,
}

/// For members only: after leaving, a user would need the list as of the leaving, which is not worth such a read.
async fn list(
    State(chat): State<Chat>,
    caller: Reader,
    Path(conversation): Path<ConversationId>,
    Query(query): Query<MembersQuery>,
) -> Result<Json<MemberPage>, ApiError> {
    let limit = paging::limit(query.limit, PAGE_MAX)?;
    let reading = chat.open(caller.user, conversation).await?;
    if reading.left().is_some() {
        return Err(faults::not_member());
    }
    let _work = chat.reads.work().await;
    let page = chat.store.members(conversation, reading.head.seq, query.after, limit + 1).await;
    let mut page = page.map_err(faults::of_store)?;
    let more = page.len() > limit;
    page.truncate(limit);
    let member = |(user, membership): (UserId, Membership)| MemberBody {
        user,
        role: membership.role.name().to_owned(),
        joined: membership.since,
        changed: membership.changed,
    };
    Ok(Json(MemberPage { members: page.into_iter().map(member).collect(), more }))
}

async fn add(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path(conversation): Path<ConversationId>,
    Json(AddMembersBody { id, members }): Json<AddMembersBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::AddMembers { members })).await
}

async fn remove(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path((conversation, user)): Path<(ConversationId, UserId)>,
    Query(CommandBody { id }): Query<CommandBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::RemoveMember { user })).await
}

async fn change_role(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path((conversation, user)): Path<(ConversationId, UserId)>,
    Json(RoleBody { id, role }): Json<RoleBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::ChangeRole { user, role })).await
}

async fn leave(
    State(chat): State<Chat>,
    caller: Caller,
    Extension(trace): Extension<TraceParent>,
    Path(conversation): Path<ConversationId>,
    Json(CommandBody { id }): Json<CommandBody>,
) -> Logged {
    chat.submit(&caller, trace, CommandFrame::new(id, conversation, CommandKind::Leave {})).await
}
