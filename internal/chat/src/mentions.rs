//! Mentions: the messages that are meant for the caller among those of a conversation.

use std::collections::BTreeSet;

use api::{ApiError, Json, Path, Query, Routes};
use axum::extract::State;
use commands::faults;
use domain::{ConversationId, Seq, UserId};
use protocol::HistoryPage;
use store::{Direction, Page};

use crate::history::HistoryQuery;
use crate::parts::Part;
use crate::service::{Chat, Reader};

/// Unread mentions that are counted. With more, the count is this.
pub const MENTIONS_COUNTED_MAX: usize = 1000;

pub(crate) fn routes() -> Routes<Chat> {
    Routes::new().get("/v1/conversations/{conversation}/mentions", mentions)
}

/// The messages that mention the reader, by their own seqs.
async fn mentions(
    State(chat): State<Chat>,
    caller: Reader,
    Path(conversation): Path<ConversationId>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryPage>, ApiError> {
    chat.part_asked_for(caller.user, conversation, &query, Part::Mentions(caller.user)).await
}

impl Chat {
    /// The number of messages behind `read` up to `end` that mention the user, who may read all of them.
    pub(crate) async fn unread_mentions(
        &self,
        user: UserId,
        conversation: ConversationId,
        (read, end): (Seq, Seq),
    ) -> Result<u64, ApiError> {
        if read >= end {
            return Ok(0);
        }
        let _work = self.reads.work().await;
        let page = Page { anchor: Some(read), direction: Direction::After, limit: MENTIONS_COUNTED_MAX };
        let found = async {
            tokio::try_join!(
                self.store.mentions(user, conversation, page),
                self.store.mentions_of_all(conversation, page)
            )
        };
        let (by_name, of_all) = found.await.map_err(faults::of_store)?;
        let of_all = of_all.into_iter().filter(|mention| mention.author != user).map(|mention| mention.seq);
        // Of both kinds those up to the bound were read, so that nothing is missing among as many.
        let all: BTreeSet<Seq> = by_name.into_iter().map(|(seq, _)| seq).chain(of_all).collect();
        Ok(all.range(..=end).take(MENTIONS_COUNTED_MAX).count() as u64)
    }
}
