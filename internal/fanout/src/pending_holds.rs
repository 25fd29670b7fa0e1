//! Records that a relay cannot read yet, while their hold is being written or read. `hold_records.rs` starts that.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use domain::{ConversationId, Seq};
use store::Hold;

use crate::FanoutError;
use crate::position::Position;

/// A request to the store, made in the background: the store may be away while readable records are relayed.
pub(crate) type Request<T> = Pin<Box<dyn Future<Output = Result<T, FanoutError>> + Send>>;

/// The first and the last record of each key.
pub(crate) type Spans = BTreeMap<ConversationId, (Seq, Seq)>;

/// The holds of a relay that are being written or read.
#[derive(Default)]
pub(crate) struct PendingHolds {
    /// Keys with records since the last commit was made, whose holds are not requested yet.
    pub(crate) unwritten: Spans,
    pub(crate) writing: Option<Writing>,
    pub(crate) listing: Option<Request<Vec<(ConversationId, Hold)>>>,
    /// The last key that was tried again.
    pub(crate) looked_at: Option<ConversationId>,
}

/// Rows that are being written, and the commit that comes after them.
pub(crate) struct Writing {
    pub(crate) spans: Spans,
    pub(crate) request: Request<()>,
    pub(crate) commit: (u64, Position),
}

/// An answer of the store.
pub(crate) enum StoreReply {
    /// The rows before this commit are written.
    Written(Result<(u64, Position), FanoutError>),
    /// These keys are held.
    Listed(Result<Vec<(ConversationId, Hold)>, FanoutError>),
}

impl PendingHolds {
    /// The commit that waits for rows.
    pub(crate) fn committing(&mut self) -> Option<&mut (u64, Position)> {
        self.writing.as_mut().map(|writing| &mut writing.commit)
    }

    /// The next answer; cancel-safe.
    pub(crate) async fn back(&mut self) -> StoreReply {
        poll_fn(|context| {
            if let Some(writing) = &mut self.writing
                && let Poll::Ready(written) = writing.request.as_mut().poll(context)
                && let Some(writing) = self.writing.take()
            {
                return Poll::Ready(StoreReply::Written(written.map(|()| writing.commit)));
            }
            if let Some(listing) = &mut self.listing
                && let Poll::Ready(listed) = listing.as_mut().poll(context)
            {
                self.listing = None;
                return Poll::Ready(StoreReply::Listed(listed));
            }
            Poll::Pending
        })
        .await
    }
}
