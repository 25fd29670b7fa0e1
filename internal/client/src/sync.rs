//! Syncing from heads, and repeating that for conversations that could not be synced.
//!
//! After a reset, the new cursor is stored only together with the heads, at the end of the sync; frames that
//! arrive before are buffered. A conversation that the server cannot read yet stays *unsynced*, and the sync is
//! requested again (a *resync*). Its frames are dropped while no resync is running, because the resync that covers
//! it begins after them and so includes them. Frames that arrive during a resync are buffered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::{ConversationId, Cursor, Seq};
use protocol::{FeedFrame, Received, SyncPage, SyncState};
use tokio::time::Instant;

use crate::ClientEvent;
use crate::device::{Device, Output};
use crate::error::ClientError;

/// Frames that are buffered for a sync. Beyond, the device reconnects: the server still has them.
const FRAMES_WAITING_MAX: usize = 10_000;
/// The pause before a resync; it doubles with each resync that made nothing ready.
const RESYNC_AFTER: Duration = Duration::from_secs(3);
/// The pause when only held conversations are left, and the longest pause of all.
const RESYNC_HELD_AFTER: Duration = Duration::from_secs(30);

/// A sync after a reset.
#[derive(Debug)]
pub(crate) struct Syncing {
    /// The cursor to store at the end.
    cursor: Cursor,
    /// Why the server has reset the device.
    reason: String,
    waiting: Vec<Received>,
    /// A cursor without a frame that came after all buffered frames.
    passed: Option<Cursor>,
}

impl Syncing {
    pub(crate) fn passed(&mut self, cursor: Cursor) {
        self.passed = Some(cursor);
    }

    /// Buffers a frame; returns whether there was room.
    pub(crate) fn buffer(&mut self, received: Received) -> bool {
        self.passed = None;
        self.waiting.push(received);
        self.waiting.len() <= FRAMES_WAITING_MAX
    }
}

/// The repeated syncs for conversations that could not be synced.
#[derive(Debug, Default)]
pub(crate) struct Resync {
    /// When the next one is due; `None` for at once.
    due: Option<Instant>,
    /// Whether one is running.
    asking: bool,
    /// Frames of unsynced conversations that came since it began.
    waiting: BTreeMap<ConversationId, Vec<(Seq, FeedFrame)>>,
    count: usize,
    /// Answers in a row that made no conversation ready.
    fruitless: u32,
    /// Whether another unsynced conversation was found since it began: the answer may be from before that.
    overtaken: bool,
}

impl Resync {
    /// A frame came of a conversation that was not known to be unsynced. Resets the pause: a held conversation
    /// elsewhere is no reason to let this one wait for long.
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
            // The outstanding answer is of no use without these frames: it is ignored, and the resync repeated
            // later.
            (self.waiting, self.count, self.asking) = (BTreeMap::new(), 0, false);
            return;
        }
        self.waiting.entry(conversation).or_default().push((seq, frame));
    }
}

impl Device {
    /// Begins the sync after a reset, on a new or an open socket. On an open one, read marks and commands that are
    /// under way stay so; but requests for outcomes are repeated, because their answers may be from before the new
    /// cursor.
    pub(crate) fn begin_sync(&mut self, cursor: Cursor, reason: String) {
        self.syncing = Some(Syncing { cursor, reason, waiting: Vec::new(), passed: None });
        self.forget_asked();
        self.syncs += 1;
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

    /// Handles the answer to the sync with that number. Returns a pause if the caller is to request it again after
    /// that.
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
        // Not before: when the socket drops during the sync, the device comes with the cursor of before, which another
        // node may know. Then the feed goes on, and what the reader has cached is good.
        self.event(ClientEvent::Reset { reason: syncing.reason });
        self.event(ClientEvent::Synced { conversations });
        for received in syncing.waiting {
            self.take(received, now);
        }
        if let Some(cursor) = syncing.passed {
            self.state.cursor = Some(cursor);
        }
        // The frames that settled these commands may lie before the new cursor, so their outcomes must be asked
        // for; also those of refused commands, since a refusal says nothing about other copies. The flag is stored
        // with the cursor, because the socket may be lost before the answers come.
        for tracked in self.state.commands.values_mut() {
            (tracked.doubtful, tracked.due) = (tracked.copies > 0 || !tracked.is_open(), None);
        }
        self.on_time(now);
    }

    /// Conversations that are ready now are synced. A conversation that a complete answer does not name had no
    /// events when the answer was made: all its frames came since, and are buffered.
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
