//! What a message has said in its time.

use api::{ApiError, Json, Path, Query, Routes};
use axum::extract::State;
use commands::faults;
use domain::limits::EDITS_MAX;
use domain::{CommandId, Content, ConversationId, MembershipSpans, MessageBody, Seq};
use protocol::{ContentBody, MentionsBody, VersionBody, VersionPage};
use serde::Deserialize;
use store::{Entry, MessageVersion};

use crate::history::no_such_message;
use crate::paging::{self, PAGE_DEFAULT};
use crate::service::{Chat, Reader};

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new().get("/v1/conversations/{conversation}/messages/{message}/versions", versions)
}

#[derive(Deserialize)]
struct VersionsQuery {
    after: Option<Seq>,
    limit: Option<i64>,
}

/// The versions of a message, oldest first, as far as the reader was a member when they were written; of a deleted message
/// there is none.
async fn versions(
    State(chat): State<Chat>,
    caller: Reader,
    Path((conversation, id)): Path<(ConversationId, CommandId)>,
    Query(VersionsQuery { after, limit }): Query<VersionsQuery>,
) -> Result<Json<VersionPage>, ApiError> {
    let limit = paging::limit(limit, PAGE_DEFAULT)?;
    let (entry, head, _) = chat.message(caller.user, conversation, id).await?.ok_or_else(no_such_message)?;
    if entry.deleted {
        return Ok(Json(VersionPage { versions: Vec::new(), more: false }));
    }
    // Behind the head, which was read before, nothing is known of the reader's membership.
    let spans = chat.spans(caller.user, conversation).await?;
    let edits = chat.edits(conversation, &entry).await?;
    let mut found = seen(entry, edits, &spans, head);
    found.retain(|version| after.is_none_or(|after| after < version.seq));
    let fits = paging::fitting(found.iter().map(bytes_of)).min(limit);
    let more = found.len() > fits;
    found.truncate(fits);
    Ok(Json(VersionPage { versions: found, more }))
}

impl Chat {
    /// What the message has said since each of its edits that were kept: there are few enough of them.
    async fn edits(&self, conversation: ConversationId, entry: &Entry) -> Result<Vec<MessageVersion>, ApiError> {
        let _work = self.reads.work().await;
        let read = self.store.versions(conversation, entry.seq, None, EDITS_MAX).await;
        read.map_err(faults::of_store)
    }
}

/// The versions that a reader may see, who may read the message itself, in their order.
fn seen(entry: Entry, edits: Vec<MessageVersion>, spans: &MembershipSpans, head: Seq) -> Vec<VersionBody> {
    let Content::Message { body, .. } = entry.content else { return Vec::new() };
    let last = edits.last().map_or(entry.seq, |edit| edit.changed);
    let there = spans.iter().any(|span| span.contains(entry.seq) && span.contains(last));
    let kept = edits.into_iter().filter(|edit| edit.changed <= head && spans.contain(edit.changed));
    let kept = kept.map(|edit| version(edit.changed, edit.time_ms, edit.body));
    match (entry.original, entry.edited_ms) {
        // What it said before its edits may be from any time up to the last of them.
        (Some(original), _) => {
            there.then(|| version(entry.seq, entry.time_ms, original)).into_iter().chain(kept).collect()
        }
        // A service of an older release has edited it last, and kept nothing.
        (None, Some(edited_ms)) if spans.left().is_none() && entry.changed <= head => {
            kept.chain([version(entry.changed, edited_ms, body)]).collect()
        }
        (None, Some(_)) => kept.collect(),
        (None, None) => vec![version(entry.seq, entry.time_ms, body)],
    }
}

fn version(seq: Seq, time: i64, MessageBody { text, mentions, custom }: MessageBody) -> VersionBody {
    let (mentions, content) = (MentionsBody::of(&mentions), custom.map(ContentBody::from));
    VersionBody { seq, time, body: text, mentions, content }
}

/// Bytes of a version as JSON, about.
fn bytes_of(version: &VersionBody) -> usize {
    let data = version.content.as_ref().map(|content| &content.data);
    let texts: usize = [Some(&version.body), data].into_iter().flatten().map(paging::bytes_of_message_text).sum();
    let users = version.mentions.as_ref().map_or(0, |mentions| mentions.users.len());
    paging::ENTRY_BYTES + texts + users * paging::USER_BYTES
}
