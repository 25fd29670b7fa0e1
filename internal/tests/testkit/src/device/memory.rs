//! What a device stores, what it has experienced, and how frames change both.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use domain::{CommandId, ConversationId, Cursor, Doing, Seq, Status, UserId};
use protocol::{ClientFrame, EntryBody, FeedFrame, SignalFrame, StandsName, SyncPage};
use tokio::time::Instant;

use super::fates::{Contradiction, Sent};
use super::inbound::Fed;
use super::view::{Own, Room};

/// What a device stores durably, all of it at once: the cursor and the filter belong together.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The cursor to resume from.
    pub cursor: Option<Cursor>,
    /// The filter: the highest seq of each conversation.
    pub highest: BTreeMap<ConversationId, Seq>,
    /// The conversations that it shows.
    pub rooms: BTreeMap<ConversationId, Room>,
    /// The user's read mark in each conversation.
    pub marks: BTreeMap<ConversationId, Seq>,
    /// Read marks that are not acknowledged.
    pub unacked: BTreeMap<ConversationId, Seq>,
    /// Conversations that must be read again, with the seq of the cause: the user was added, or a frame told of a
    /// change without its content.
    pub rereads: BTreeMap<ConversationId, Seq>,
    /// Frames of those conversations that passed the filter and wait for the rows. The entries from before the
    /// absence are stale: a frame applied to one of them would make it look newer than the rows, so that the rows
    /// would not replace it.
    pub waiting: BTreeMap<ConversationId, Vec<FeedFrame>>,
    /// For the oracle: every seq that passed the filter since the last sync.
    pub seen: BTreeMap<ConversationId, BTreeSet<Seq>>,
    /// For the oracle: the head of each conversation at the last sync.
    pub covered: BTreeMap<ConversationId, Seq>,
}

impl Kept {
    /// How many of the newest entries [`Self::recent_message`] looks at.
    const RECENT: usize = 20;

    /// The seq of the newest entry that the device shows of that conversation.
    #[must_use]
    pub fn newest(&self, conversation: ConversationId) -> Option<Seq> {
        self.rooms.get(&conversation)?.entries.keys().next_back().copied()
    }

    /// The newest message that the device shows of that conversation, if one is among the newest entries.
    #[must_use]
    pub fn recent_message(&self, conversation: ConversationId) -> Option<CommandId> {
        let entries = self.rooms.get(&conversation)?.entries.values().rev();
        entries.take(Self::RECENT).find(|entry| entry.kind == "message").map(|entry| entry.id)
    }
}

/// A frame that was received.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its seq.
    pub seq: Seq,
    /// A digest of its content without the cursor.
    pub digest: u64,
    /// Whether the filter let it pass.
    pub passed: bool,
}

/// What a device has experienced, for the oracle.
#[derive(Debug, Default)]
pub struct Journal {
    /// Every feed frame with a seq, in the order of arrival.
    pub heard: Vec<Heard>,
    /// Frames that the filter dropped although the device never received them.
    pub wrongly_filtered: Vec<(ConversationId, Seq)>,
    /// The reason of every reset.
    pub resets: Vec<String>,
    /// How often it has connected.
    pub connects: u32,
    /// When its upgrades were accepted.
    pub upgraded_at: Vec<Instant>,
    /// How often it was asked to come back with its partition in the URL.
    pub moves: u32,
    /// How often a socket was continued with a new token.
    pub renewals: u32,
    /// Why connections ended, and how often.
    pub ends: BTreeMap<String, u32>,
    /// Error frames and refused calls, and how often.
    pub errors: BTreeMap<String, u32>,
    /// Number of frames about read marks of the user's own.
    pub reads: u32,
    /// Number of frames about the account.
    pub accounts: u32,
    /// Number of frames of other producers, which were skipped.
    pub passed: u32,
    /// The highest read mark that was acknowledged, by conversation.
    pub marks_acked: BTreeMap<ConversationId, Seq>,
    /// Answers about a command that contradict one another.
    pub contradictions: Vec<Contradiction>,
    /// Time from send to acknowledgement, in microseconds; of commands that were sent once only.
    pub ack_us: Vec<u64>,
    /// Time from another device's send to the arrival here, in microseconds.
    pub arrival_us: Vec<u64>,
    /// Signals that other users are typing.
    pub typing: Vec<Typing>,
    /// How often the device was told how present somebody is.
    pub presences: u64,
    /// Signals that came although the device did not ask for any, or that were about the device's own user.
    pub wrong_signals: u32,
    /// Why the device gave up, if it did.
    pub stopped: Option<String>,
}

/// A typing signal that was received.
#[derive(Debug, Clone, Copy)]
pub struct Typing {
    /// The conversation.
    pub conversation: ConversationId,
    /// The user who is typing.
    pub user: UserId,
    /// What the user does.
    pub doing: Doing,
    /// When it arrived.
    pub at: Instant,
    /// For how long the device had known that its user is not a member; `None` while the user is one, as far as it
    /// knows.
    pub left_for: Option<Duration>,
}

/// The whole state of one device.
#[derive(Debug)]
pub struct Memory {
    /// The device's user.
    pub user: UserId,
    /// What it stores.
    pub kept: Kept,
    /// Its own commands.
    pub sends: BTreeMap<CommandId, Sent>,
    /// Ids of commands whose fate is open, or that are to be sent or asked for.
    pub open: BTreeSet<CommandId>,
    /// Its journal, for the oracle.
    pub journal: Journal,
    /// Whether it is connected, welcomed and synced.
    pub live: bool,
    /// Whether it has asked for signals on the current connection.
    pub hears_signals: bool,
    /// The users whom the device watches on the current connection.
    pub watched: BTreeSet<UserId>,
    /// How present they are, as it was told last on the current connection.
    pub presences: BTreeMap<UserId, Status>,
    /// Frames about the moment that are still to be sent.
    pub(crate) moments: Vec<ClientFrame>,
    /// How often that was.
    pub(crate) typed: usize,
    /// Conversations that the user is not a member of, and since when the device knows that.
    left: BTreeMap<ConversationId, Instant>,
}

impl Memory {
    pub(crate) fn new(user: UserId) -> Self {
        Self {
            user,
            kept: Kept::default(),
            sends: BTreeMap::new(),
            open: BTreeSet::new(),
            journal: Journal::default(),
            live: false,
            hears_signals: false,
            watched: BTreeSet::new(),
            presences: BTreeMap::new(),
            moments: Vec::new(),
            typed: 0,
            left: BTreeMap::new(),
        }
    }

    /// A new connection asks for signals, or does not. It watches nobody yet.
    pub(crate) fn opens(&mut self, hears_signals: bool) {
        self.hears_signals = hears_signals;
        (self.watched, self.presences) = Default::default();
        // What was to be said on the last connection: it would be watching for nobody who knows of it.
        self.moments.clear();
    }

    /// Notes a signal: nothing that is stored changes.
    pub(crate) fn hear_signal(&mut self, signal: SignalFrame, at: Instant) {
        let (conversation, user, doing) = match signal {
            SignalFrame::Typing { conversation, user, doing, thread: _ } => (conversation, user, doing),
            SignalFrame::Presence { user, status, since: _ } => {
                self.journal.wrong_signals += u32::from(!self.hears_signals || !self.watched.contains(&user));
                self.journal.presences += 1;
                self.presences.insert(user, status.into());
                return;
            }
        };
        self.journal.wrong_signals += u32::from(!self.hears_signals || user == self.user);
        let left_for = self.left.get(&conversation).map(|since| at - *since);
        self.journal.typing.push(Typing { conversation, user, doing: doing.into(), at, left_for });
    }

    /// Applies frames of the feed: the filter first, then the content, then the cursor behind them. Returns the
    /// frames that passed the filter.
    pub(crate) fn receive<'f>(&mut self, fed: &'f Fed, now: Instant) -> Vec<&'f FeedFrame> {
        self.journal.passed += fed.passed;
        let passed = fed.frames.iter().filter(|frame| self.hear(frame, now)).collect();
        self.kept.cursor = Some(fed.cursor);
        passed
    }

    /// Applies one frame. Returns whether it passed the filter.
    fn hear(&mut self, frame: &FeedFrame, now: Instant) -> bool {
        match frame.event_key() {
            Some((conversation, seq)) => {
                let passed = self.filter(conversation, seq);
                self.journal.heard.push(Heard { conversation, seq, digest: digest(frame), passed });
                if passed {
                    self.take(conversation, frame, now);
                }
                passed
            }
            None => {
                self.hear_unplaced(frame);
                true
            }
        }
    }

    /// Applies a frame that has no seq in a conversation: a read mark or an account event.
    fn hear_unplaced(&mut self, frame: &FeedFrame) {
        match frame {
            FeedFrame::Read { conversation, user, mark, .. } if *user == self.user => {
                self.journal.reads += 1;
                let known = self.kept.marks.entry(*conversation).or_insert(*mark);
                *known = (*known).max(*mark);
            }
            FeedFrame::Account { .. } => self.journal.accounts += 1,
            _ => {}
        }
    }

    fn filter(&mut self, conversation: ConversationId, seq: Seq) -> bool {
        let kept = &mut self.kept;
        let seen = kept.seen.entry(conversation).or_default();
        if kept.highest.get(&conversation).is_none_or(|highest| seq > *highest) {
            kept.highest.insert(conversation, seq);
            seen.insert(seq);
            return true;
        }
        let covered = kept.covered.get(&conversation).is_some_and(|head| seq <= *head);
        if !covered && !seen.contains(&seq) {
            self.journal.wrongly_filtered.push((conversation, seq));
        }
        false
    }

    fn take(&mut self, conversation: ConversationId, frame: &FeedFrame, now: Instant) {
        self.show(conversation, frame);
        let (id, contradiction) = match frame {
            FeedFrame::Event { id, author, seq, what, .. } if *author == self.user => {
                let Some(sent) = self.sends.get_mut(id) else { return };
                let withdrawn = matches!(what, protocol::FeedKind::Withdrawn {});
                (id, if withdrawn { sent.withdrawn() } else { sent.stands(*seq) })
            }
            FeedFrame::Settled { id, first_seq, stands, .. } => {
                let Some(sent) = self.sends.get_mut(id) else { return };
                (id, if *stands == StandsName::Withdrawal { sent.withdrawn() } else { sent.stands(*first_seq) })
            }
            FeedFrame::Refused { id, reason, .. } => {
                let Some(sent) = self.sends.get_mut(id) else { return };
                (id, sent.refused(*reason, now))
            }
            _ => return,
        };
        self.note(*id, contradiction);
    }

    /// Applies the content of a frame to the conversation, or keeps it until the conversation has been read again.
    fn show(&mut self, conversation: ConversationId, frame: &FeedFrame) {
        let kept = &mut self.kept;
        if kept.rereads.contains_key(&conversation) {
            return kept.waiting.entry(conversation).or_default().push(frame.clone());
        }
        let room = kept.rooms.entry(conversation).or_default();
        let own = room.apply(frame, self.user);
        if room.is_member() || room.membership.is_none() {
            self.left.remove(&conversation);
        } else {
            self.left.entry(conversation).or_insert_with(Instant::now);
        }
        if let (Own::Joined | Own::Changed, Some((_, seq))) = (own, frame.event_key()) {
            kept.rereads.insert(conversation, seq);
        }
    }

    /// Notes the result of a change of a command's fate.
    pub(crate) fn note(&mut self, id: CommandId, contradiction: Option<String>) {
        if let Some(what) = contradiction {
            self.journal.contradictions.push(Contradiction { id, what });
        }
        let pending = self.sends.get(&id).is_some_and(|sent| sent.is_open() || sent.due.is_some());
        if pending {
            self.open.insert(id);
        } else {
            self.open.remove(&id);
        }
    }

    /// Replaces the stored state by a sync: the filter starts from the heads.
    pub(crate) fn synced(&mut self, page: &SyncPage, rows: Vec<(ConversationId, Vec<EntryBody>)>, cursor: Cursor) {
        let unacked = std::mem::take(&mut self.kept.unacked);
        self.kept = Kept { cursor: Some(cursor), unacked, ..Kept::default() };
        for found in &page.conversations {
            self.kept.highest.insert(found.id, found.head);
            self.kept.covered.insert(found.id, found.head);
            self.kept.rooms.entry(found.id).or_default().set_membership(found.changed, found.member);
            if found.member {
                self.left.remove(&found.id);
            } else {
                self.left.entry(found.id).or_insert_with(Instant::now);
            }
            if let Some(mark) = found.mark {
                self.kept.marks.insert(found.id, mark.seq);
            }
        }
        for (conversation, rows) in rows {
            self.merge(conversation, rows);
        }
        // The frames that would have resolved open commands may lie before the new cursor; the same holds for
        // refusals.
        let now = Instant::now();
        for (id, sent) in &mut self.sends {
            let doubtful = !matches!(sent.fate, super::Fate::Stands(_) | super::Fate::Withdrawn);
            if doubtful && sent.at.is_some() {
                (sent.due, sent.ask) = (Some(now), true);
                self.open.insert(*id);
            }
        }
    }

    /// Applies the rows of a conversation that was read again because of the event at `joined`.
    pub(crate) fn reread(&mut self, conversation: ConversationId, joined: Seq, rows: Vec<EntryBody>) {
        if self.kept.rereads.get(&conversation) != Some(&joined) {
            return; // of an earlier joining, or of what a sync has read since
        }
        self.merge(conversation, rows);
        self.kept.rereads.remove(&conversation);
        // If the user was added again in one of these frames, the frames behind it wait again.
        for frame in self.kept.waiting.remove(&conversation).unwrap_or_default() {
            self.show(conversation, &frame);
        }
    }

    /// Adds rows that were read.
    pub(crate) fn merge(&mut self, conversation: ConversationId, rows: Vec<EntryBody>) {
        let room = self.kept.rooms.entry(conversation).or_default();
        for row in rows {
            room.merge(row);
        }
    }
}

/// A 64-bit hash of a frame's content.
#[must_use]
pub fn digest(frame: &FeedFrame) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(frame).expect("frames are plain data").hash(&mut hasher);
    hasher.finish()
}
