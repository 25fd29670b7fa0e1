//! Parts of a timeline whose entries are not next to one another: a thread, the roots of threads, the pinned messages, the
//! messages that mention the reader.

use api::{ApiError, Json};
use commands::faults;
use domain::{ConversationId, Pin, Seq, UserId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::HistoryPage;
use store::{Direction, Entry, Page, StoreError};

use crate::history::{Anchor, HistoryQuery};
use crate::paging::{self, ENTRIES_AT_ONCE, PAGE_MAX};
use crate::reading::Reading;
use crate::service::Chat;

/// Portions that are read for one page, of which the reader may not see all. Beyond, the page ends.
const PORTIONS_MAX: usize = 64;
/// Entries that are read at once.
const ENTRIES_IN_FLIGHT: usize = 16;

/// A part of a timeline.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// The messages of the thread whose root is at that seq, without the root.
    Thread(Seq),
    /// The roots of threads; towards older ones only.
    Roots,
    /// The pinned messages.
    Pins,
    /// The messages that mention that user, by name or as every member.
    Mentions(UserId),
}

impl Chat {
    /// The page of a part of the timeline that a client asks for.
    pub(crate) async fn part_asked_for(
        &self,
        user: UserId,
        conversation: ConversationId,
        query: &HistoryQuery,
        part: Part,
    ) -> Result<Json<HistoryPage>, ApiError> {
        let page = (Anchor::of(query.before, query.after)?, paging::limit(query.limit, PAGE_MAX)?);
        let mut reading = self.open_as_asked(user, conversation, query.at_least).await?;
        self.part_page(user, conversation, &mut reading, part, page).await.map(Json)
    }

    /// A page of a part of the timeline, with what the reader may see of its entries.
    pub(crate) async fn part_page(
        &self,
        user: UserId,
        conversation: ConversationId,
        reading: &mut Reading,
        part: Part,
        (anchor, limit): (Anchor, usize),
    ) -> Result<HistoryPage, ApiError> {
        let entries = self.part(conversation, reading, part, (anchor, limit + 1)).await?;
        self.shown(user, conversation, reading, entries, (anchor, limit)).await
    }

    /// At most `limit` entries of a part of the timeline. First only their places are read, so that of those which the reader
    /// may not see nothing else is.
    async fn part(
        &self,
        conversation: ConversationId,
        reading: &Reading,
        part: Part,
        (anchor, limit): (Anchor, usize),
    ) -> Result<Vec<Entry>, ApiError> {
        // A user who has left is told nothing of what came afterwards.
        let (head, left) = (reading.head.seq, reading.left());
        let as_of = left.map_or(head, |left| left.min(head));
        let mut page = match anchor {
            Anchor::Before(before) => Page { anchor: before, direction: Direction::Before, limit },
            Anchor::After(after) => Page { anchor: Some(after), direction: Direction::After, limit },
        };
        let mut entries = Vec::new();
        for _ in 0..PORTIONS_MAX {
            page.limit = (limit - entries.len()).min(ENTRIES_AT_ONCE);
            let _work = self.reads.work().await;
            let places = self.places(conversation, part, page, as_of).await.map_err(faults::of_store)?;
            let (read, Some((outermost, _))) = (places.len(), places.last().copied()) else { break };
            let mut seen = places;
            seen.retain(|(seq, _)| reading.spans.contain(*seq) && *seq <= as_of);
            if matches!(part, Part::Roots) && left.is_some() {
                seen = self.begun(conversation, seen, as_of).await.map_err(faults::of_store)?;
            }
            let found: Vec<Option<Entry>> = stream::iter(seen)
                .map(|(seq, slot)| self.store.entry(conversation, slot, seq))
                .buffered(ENTRIES_IN_FLIGHT)
                .try_collect()
                .await
                .map_err(faults::of_store)?;
            entries.extend(found.into_iter().flatten().filter(|entry| part.has(entry)));
            let full = entries.len() >= limit || paging::fitting(entries.iter().map(paging::bytes_of)) < entries.len();
            if full || read < page.limit {
                break;
            }
            page.anchor = Some(outermost);
        }
        Ok(entries)
    }

    /// The roots whose threads had begun by `as_of`.
    async fn begun(
        &self,
        conversation: ConversationId,
        roots: Vec<(Seq, u64)>,
        as_of: Seq,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        let mut begun = Vec::with_capacity(roots.len());
        for root in roots {
            if self.store.thread_length(conversation, root.0, as_of).await? > 0 {
                begun.push(root);
            }
        }
        Ok(begun)
    }

    /// The places of entries of a part of the timeline as of `as_of`, in the page's direction.
    async fn places(
        &self,
        conversation: ConversationId,
        part: Part,
        page: Page,
        as_of: Seq,
    ) -> Result<Vec<(Seq, u64)>, StoreError> {
        match part {
            Part::Thread(root) => {
                let messages = self.store.thread(conversation, root, page, as_of).await?;
                Ok(messages.into_iter().map(|message| (message.seq, message.slot)).collect())
            }
            Part::Roots => self.store.threads(conversation, page.anchor, page.limit).await,
            Part::Pins => Ok(pinned(self.store.pins(conversation, as_of).await?, page)),
            Part::Mentions(user) => {
                let by_name = self.store.mentions(user, conversation, page);
                let (by_name, of_all) = tokio::try_join!(by_name, self.store.mentions_of_all(conversation, page))?;
                let of_all = of_all.into_iter().filter(|mention| mention.author != user);
                let of_all = of_all.map(|mention| (mention.seq, mention.slot));
                Ok(in_order(by_name.into_iter().chain(of_all).collect(), page))
            }
        }
    }
}

impl Part {
    /// Whether the entry at one of its places belongs to it: nobody mentions themselves.
    fn has(self, entry: &Entry) -> bool {
        match self {
            Self::Thread(_) | Self::Roots | Self::Pins => true,
            Self::Mentions(user) => entry.author != user && !entry.deleted,
        }
    }
}

/// The places of a page of pinned messages, in its direction.
fn pinned(pins: Vec<Pin>, page: Page) -> Vec<(Seq, u64)> {
    let Page { anchor, direction, .. } = page;
    let mut places: Vec<(Seq, u64)> = pins.into_iter().map(|pin| (pin.seq, pin.slot)).collect();
    places.retain(|(seq, _)| match direction {
        Direction::Before => anchor.is_none_or(|anchor| *seq < anchor),
        Direction::After => anchor.is_none_or(|anchor| *seq > anchor),
    });
    in_order(places, page)
}

/// As many of the places as a page takes, each once, in its direction.
fn in_order(mut places: Vec<(Seq, u64)>, Page { direction, limit, .. }: Page) -> Vec<(Seq, u64)> {
    places.sort_unstable();
    places.dedup();
    if direction == Direction::Before {
        places.reverse();
    }
    places.truncate(limit);
    places
}
