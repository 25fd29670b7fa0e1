//! What a relay cannot read yet, as far as it is on its way to the store or back. `hold_records.rs` sends it there.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use domain::{ConversationId, Seq};
use store::Hold;

use crate::FanoutError;
use crate::position::Position;

/// A request to the store: nobody waits for it. The store may be away, and what can be read is relayed.
pub(crate) type Request<T> = Pin<Box<dyn Future<Output = Result<T, FanoutError>> + Send>>;

/// The first and the last record of each key.
pub(crate) type Spans = BTreeMap<ConversationId, (Seq, Seq)>;

/// What a relay holds, as far as it is on its way to the store or back.
#[derive(Default)]
pub(crate) struct Held {
    /// Since the last commit was made up.
    pub(crate) unwritten: Spans,
    pub(crate) writing: Option<Writing>,
    pub(crate) listing: Option<Request<Vec<(ConversationId, Hold)>>>,
    /// The last key that was looked at.
    pub(crate) looked_at: Option<ConversationId>,
}

/// Rows on their way, and the commit that comes after them.
pub(crate) struct Writing {
    pub(crate) spans: Spans,
    pub(crate) request: Request<()>,
    pub(crate) commit: (u64, Position),
}

/// What is back from the store.
pub(crate) enum Back {
    /// The rows before this commit are written.
    Written(Result<(u64, Position), FanoutError>),
    /// These are held.
    Listed(Result<Vec<(ConversationId, Hold)>, FanoutError>),
}

impl Held {
    /// The commit that waits for rows.
    pub(crate) fn committing(&mut self) -> Option<&mut (u64, Position)> {
        self.writing.as_mut().map(|writing| &mut writing.commit)
    }

    /// What comes back next; dropping it loses nothing.
    pub(crate) async fn back(&mut self) -> Back {
        poll_fn(|context| {
            if let Some(writing) = &mut self.writing
                && let Poll::Ready(written) = writing.request.as_mut().poll(context)
                && let Some(writing) = self.writing.take()
            {
                return Poll::Ready(Back::Written(written.map(|()| writing.commit)));
            }
            if let Some(listing) = &mut self.listing
                && let Poll::Ready(listed) = listing.as_mut().poll(context)
            {
                self.listing = None;
                return Poll::Ready(Back::Listed(listed));
            }
            Poll::Pending
        })
        .await
    }
}
