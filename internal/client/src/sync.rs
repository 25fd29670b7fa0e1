//! Syncing from heads, and asking again for what could not be synced.
//!
//! After a reset the cursor that came with it is kept only together with the heads, at the end; frames that come
//! meanwhile wait. A conversation that the server cannot answer for yet stays unsynced and is asked for again; its
//! frames in between are dropped, because the sync that ends this was begun after them and so includes them. Those that
//! come while it is being asked for wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::{ConversationId, Cursor, Seq};
use protocol::{FeedFrame, Received, SyncPage, SyncState};
use tokio::time::Instant;

use crate::ClientEvent;
use crate::device::{Device, Output};
use crate::error::ClientError;

/// Frames that wait for a sync. Beyond, the device connects again: the server has them.
const FRAMES_WAITING_MAX: usize = 10_000;
/// Unsynced conversations are asked for again after so long; twice as long each time that there was nothing new.
const RESYNC_AFTER: Duration = Duration::from_secs(3);
/// When nothing but held ones are left, after so long; and no pause is longer.
const RESYNC_HELD_AFTER: Duration = Duration::from_secs(30);

/// A sync after a reset.
#[derive(Debug)]
pub(crate) struct Syncing {
    /// The cursor to keep, at the end.
    cursor: Cursor,
    waiting: Vec<Received>,
    /// A later cursor without a frame, behind all frames that wait.
    passed: Option<Cursor>,
}

impl Syncing {
    pub(crate) fn passed(&mut self, cursor: Cursor) {
        self.passed = Some(cursor);
    }

    /// Lets a frame wait; says whether there was room.
    pub(crate) fn buffer(&mut self, received: Received) -> bool {
        self.passed = None;
        self.waiting.push(received);
        self.waiting.len() <= FRAMES_WAITING_MAX
    }
}

/// Asking again for conversations that could not be synced.
#[derive(Debug, Default)]
pub(crate) struct Resync {
    /// When; `None`: at once.
    due: Option<Instant>,
    /// Whether it is being asked.
    asking: bool,
    /// Frames of unsynced conversations that came since.
    waiting: BTreeMap<ConversationId, Vec<(Seq, FeedFrame)>>,
    count: usize,
    /// Answers in a row that made nothing ready.
    fruitless: u32,
    /// Whether another unsynced conversation has come up since it was asked: the answer may be from before.
    overtaken: bool,
}

impl Resync {
    /// A conversation has come up that was not known to be unsynced: a held one elsewhere is no reason to let it wait
    /// for long.
    pub(crate) fn found_another(&mut self, now: Instant) {
        let soon = now + RESYNC_AFTER;
        (self.fruitless, self.due) = (0, self.due.map(|due| due.min(soon)));
        self.overtaken = self.asking;
    }

    pub(crate) fn keep(&mut self, conversation: ConversationId, seq: Seq, frame: FeedFrame) {
        if !self.asking {
            return;
        }
        self.count += 1;
        if self.count > FRAMES_WAITING_MAX {
            // The answer on its way is of no use without these: asked again later.
            (self.waiting, self.count, self.asking) = (BTreeMap::new(), 0, false);
            return;
        }
        self.waiting.entry(conversation).or_default().push((seq, frame));
    }
}

impl Device {
    /// Begins the sync of a reset, on a new socket or on the one that stands: there, marks and commands stay on their
    /// way, but the outcomes that are being asked for may be from before what the new cursor leaves out.
    pub(crate) fn begin_sync(&mut self, cursor: Cursor, reason: String) {
        self.syncing = Some(Syncing { cursor, waiting: Vec::new(), passed: None });
        self.forget_asked();
        self.syncs += 1;
        self.event(ClientEvent::Reset { reason });
        self.out.push_back(Output::Sync(self.syncs));
    }

    pub(crate) fn is_unsynced(&self, conversation: ConversationId) -> bool {
        let unnamed = self.state.incomplete && !self.state.highest.contains_key(&conversation);
        unnamed || self.state.unsynced.contains(&conversation)
    }

    fn wants_resync(&self) -> bool {
        self.state.incomplete || !self.state.unsynced.is_empty()
    }

    pub(crate) fn resync_due(&self, now: Instant) -> Option<Instant> {
        (self.wants_resync() && !self.resync.asking).then(|| self.resync.due.unwrap_or(now))
    }

    pub(crate) fn resync_if_due(&mut self, now: Instant) {
        if self.resync_due(now).is_none_or(|due| due > now) {
            return;
        }
        self.resync.due = Some(now + RESYNC_AFTER);
        (self.resync.asking, self.resync.count, self.resync.overtaken) = (true, 0, false);
        self.syncs += 1;
        self.out.push_back(Output::Sync(self.syncs));
    }

    /// The answer to the sync of that number. A failed one is asked again by who asks: `Some` is when.
    pub(crate) fn synced(
        &mut self,
        number: u64,
        answer: Result<SyncPage, ClientError>,
        now: Instant,
    ) -> Option<Duration> {
        if number != self.syncs || !self.connected {
            return None;
        }
        match (answer, self.syncing.take()) {
            (Ok(page), Some(syncing)) => self.finish_sync(page, syncing, now),
            (Ok(page), None) => self.finish_resync(page, now),
            (Err(error), Some(syncing)) => {
                tracing::debug!(%error, "the sync is tried again");
                self.syncing = Some(syncing);
                return Some(error.retry_after().unwrap_or(RESYNC_AFTER));
            }
            (Err(error), None) => {
                tracing::debug!(%error, "unsynced conversations are asked for again");
                self.resync = Resync { due: Some(now + RESYNC_AFTER), ..Resync::default() };
            }
        }
        None
    }

    fn finish_sync(&mut self, page: SyncPage, syncing: Syncing, now: Instant) {
        let SyncPage { conversations, complete, .. } = page;
        (self.state.highest, self.state.unsynced) = (BTreeMap::new(), BTreeSet::new());
        self.state.incomplete = !complete;
        for conversation in &conversations {
            match conversation.state {
                SyncState::Ready => drop(self.state.highest.insert(conversation.id, conversation.head)),
                SyncState::Retry | SyncState::Held => drop(self.state.unsynced.insert(conversation.id)),
            }
        }
        self.state.cursor = Some(syncing.cursor);
        self.resync = Resync { due: Some(now + RESYNC_AFTER), ..Resync::default() };
        self.event(ClientEvent::Synced { conversations });
        for received in syncing.waiting {
            self.take(received, now);
        }
        if let Some(cursor) = syncing.passed {
            self.state.cursor = Some(cursor);
        }
        // What a frame would have told may lie before the cursor: ask. That goes for refusals too, which say nothing
        // about other copies. It is kept with the cursor: the socket may be gone before the answers come.
        for tracked in self.state.commands.values_mut() {
            (tracked.doubtful, tracked.due) = (tracked.copies > 0 || !tracked.is_open(), None);
        }
        self.on_time(now);
    }

    /// What is ready now is synced. What is not named although the answer is complete has no events up to its
    /// watermark: all its frames came since, and waited.
    fn finish_resync(&mut self, page: SyncPage, now: Instant) {
        if !self.resync.asking {
            return;
        }
        let waiting = std::mem::take(&mut self.resync.waiting);
        (self.resync.asking, self.resync.count) = (false, 0);
        self.state.incomplete = !page.complete;
        let (mut ready, mut unsynced) = (Vec::new(), BTreeSet::new());
        let mut held_only = page.complete;
        for conversation in page.conversations {
            let known = self.state.highest.contains_key(&conversation.id);
            if known && !self.state.unsynced.contains(&conversation.id) {
                continue;
            }
            match conversation.state {
                SyncState::Ready => ready.push(conversation),
                SyncState::Retry | SyncState::Held => {
                    held_only &= conversation.state == SyncState::Held;
                    unsynced.insert(conversation.id);
                }
            }
        }
        if !page.complete {
            let named = |id: &&ConversationId| ready.iter().any(|conversation| conversation.id == **id);
            unsynced.extend(self.state.unsynced.iter().filter(|id| !named(id)));
        }
        self.state.unsynced = unsynced;
        let fruitless = ready.is_empty() && !self.resync.overtaken;
        self.resync.fruitless = if fruitless { self.resync.fruitless + 1 } else { 0 };
        let longer = RESYNC_AFTER.saturating_mul(2_u32.saturating_pow(self.resync.fruitless));
        let pause = if held_only { RESYNC_HELD_AFTER } else { longer.min(RESYNC_HELD_AFTER) };
        self.resync.due = Some(now + pause);
        for conversation in &ready {
            self.state.highest.insert(conversation.id, conversation.head);
        }
        if !ready.is_empty() {
            self.event(ClientEvent::Synced { conversations: ready });
        }
        for (id, frames) in waiting {
            for (seq, frame) in frames {
                let news = self.state.highest.get(&id).is_none_or(|highest| seq > *highest);
                if news && !self.state.unsynced.contains(&id) {
                    self.state.highest.insert(id, seq);
                    self.event(ClientEvent::Feed(Box::new(frame)));
                }
            }
        }
    }
}
