//! The messages of one conversation as a device shows them, merged from rows and feed frames.
//!
//! Rows and frames may come in any order and more than once: of two versions of an entry, the one with the higher
//! `changed` wins, and no entry is removed because rows lack it. A frame that comes before the rows have been read
//! (at the beginning, after a reset, after joining) may change an entry that is not here: then the rows must be
//! read as of that frame or later.

use std::collections::{BTreeMap, HashMap};

use domain::{CommandId, ConversationId, Doing, MessageText, SIGNAL_SHOWN, Seq, TYPING_MEMBERS_MAX, UserId};
use protocol::{EntryBody, FeedFrame, FeedKind, ReactionBody, RepliesBody, SignalFrame};
use tokio::time::Instant;

/// Entries that a view keeps. Beyond, the oldest are dropped: they can be read again.
pub const ENTRIES_MAX: usize = 2000;

/// A change that a merge made to the shown entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new entry.
    New(EntryBody),
    /// An entry that has changed.
    Changed(EntryBody),
}

/// The effects of a frame on a view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The changes of entries.
    pub changes: Vec<Change>,
    /// If set, the rows must be read, as of at least this seq, and given to [`View::read`]: nothing was read yet,
    /// the user has just (re)joined, or a message has changed in a way that only the rows show.
    pub reread: Option<Seq>,
}

/// Somebody who is typing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Typing {
    /// Who.
    pub user: UserId,
    /// What they do.
    pub doing: Doing,
    /// The root of the thread that they type in; `None` outside threads.
    pub thread: Option<CommandId>,
}

/// The view of one conversation.
#[derive(Debug, Clone)]
pub struct View {
    conversation: ConversationId,
    me: UserId,
    entries: BTreeMap<Seq, EntryBody>,
    by_id: HashMap<CommandId, Seq>,
    /// Whether the rows have not been read yet, or not since the user (re)joined: a frame can change entries that
    /// are not here.
    unread: bool,
    /// What each of the other users last said with `typing`, and when. Expired ones may still be here.
    typing: BTreeMap<UserId, (Instant, Typing)>,
    /// Whether the user has left. Signals are ignored then.
    left: bool,
}

impl View {
    /// An empty view, whose rows are to be read.
    #[must_use]
    pub fn new(conversation: ConversationId, me: UserId) -> Self {
        let (entries, by_id) = (BTreeMap::new(), HashMap::new());
        Self { conversation, me, entries, by_id, unread: true, typing: BTreeMap::new(), left: false }
    }

    /// The conversation of the view.
    #[must_use]
    pub fn conversation(&self) -> ConversationId {
        self.conversation
    }

    /// The user of the device.
    #[must_use]
    pub fn me(&self) -> UserId {
        self.me
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &EntryBody> {
        self.entries.values()
    }

    /// The entry of that id.
    #[must_use]
    pub fn entry(&self, id: CommandId) -> Option<&EntryBody> {
        self.entries.get(self.by_id.get(&id)?)
    }

    /// The newest entry's seq.
    #[must_use]
    pub fn newest(&self) -> Option<Seq> {
        self.entries.last_key_value().map(|(seq, _)| *seq)
    }

    /// Applies a signal.
    pub fn signal(&mut self, signal: &SignalFrame, now: Instant) {
        let SignalFrame::Typing { conversation, user, doing, thread } = *signal else { return };
        if conversation == self.conversation && user != self.me && !self.left {
            self.typing.retain(|_, (since, _)| now < *since + SIGNAL_SHOWN);
            if self.typing.len() < TYPING_MEMBERS_MAX {
                self.typing.insert(user, (now, Typing { user, doing: doing.into(), thread }));
            }
        }
    }

    /// The users who are typing: those whose signal came within [`SIGNAL_SHOWN`], and no message since.
    pub fn typing(&self, now: Instant) -> impl Iterator<Item = Typing> {
        self.typing.values().filter(move |(since, _)| now < *since + SIGNAL_SHOWN).map(|(_, typing)| *typing)
    }

    /// Merges the newest rows, read as of the seq in the latest [`Applied::reread`] if there was one. From now on
    /// frames are applied to them.
    pub fn read(&mut self, rows: impl IntoIterator<Item = EntryBody>) -> Vec<Change> {
        self.unread = false;
        self.merge(rows)
    }

    /// Merges other rows, such as older pages, read as of any seq.
    pub fn merge(&mut self, rows: impl IntoIterator<Item = EntryBody>) -> Vec<Change> {
        rows.into_iter().filter_map(|row| self.put(row)).collect()
    }

    /// Merges a frame of the feed.
    pub fn apply(&mut self, frame: &FeedFrame) -> Applied {
        let FeedFrame::Event { conversation, seq, id, author, time, ordinal, what } = frame else {
            return Applied::default();
        };
        if *conversation != self.conversation {
            return Applied::default();
        }
        let entry = |kind: &str| EntryBody {
            seq: *seq,
            id: *id,
            author: *author,
            time: *time,
            kind: kind.to_owned(),
            ordinal: ordinal.unwrap_or_default(),
            changed: *seq,
            body: None,
            reply_to: None,
            thread: None,
            thread_ordinal: None,
            also_in_conversation: false,
            quote: None,
            mentions: None,
            content: None,
            users: Vec::new(),
            edited: None,
            deleted: false,
            deleted_by: None,
            reactions: Vec::new(),
            replies: None,
            withheld: false,
        };
        let of = |entry: EntryBody, view: &mut Self| view.put(entry).into_iter().collect::<Vec<_>>();
        if let FeedKind::Created { members, .. } | FeedKind::Joined { members } = what
            && members.contains(&self.me)
        {
            self.forget();
        }
        self.moments(*author, what);
        let changes = match what {
            // As the rows have it: a `created` entry shows neither members nor title.
            FeedKind::Created { .. } => of(entry("created"), self),
            FeedKind::Joined { members } => of(EntryBody { users: members.clone(), ..entry("joined") }, self),
            FeedKind::Left { user, .. } => of(EntryBody { users: vec![*user], ..entry("left") }, self),
            FeedKind::TitleChanged { title } => {
                of(EntryBody { body: Some(title.as_str().into()), ..entry("title") }, self)
            }
            FeedKind::Message { thread, thread_ordinal, .. } => {
                let message = message_of(what, entry("message"));
                let (thread, thread_ordinal) = (*thread, *thread_ordinal);
                let replies = thread_ordinal.map(|messages| RepliesBody { messages, last: *seq, last_time: *time });
                let mut changes = of(message, self);
                changes.extend(thread.and_then(|root| self.replied(root, replies)));
                changes
            }
            FeedKind::Edited { .. }
            | FeedKind::Deleted { .. }
            | FeedKind::Reacted { .. }
            | FeedKind::ReactionAdded { .. }
            | FeedKind::ReactionRemoved { .. } => self.rewrite((*seq, *author, *time), what),
            // The pins are a list of their own: `Http::pins`.
            FeedKind::RoleChanged { .. }
            | FeedKind::Withdrawn {}
            | FeedKind::Pinned { .. }
            | FeedKind::Unpinned { .. } => Vec::new(),
        };
        Applied { changes, reread: self.unread.then_some(*seq) }
    }

    /// Merges an event that changes a message.
    fn rewrite(&mut self, (seq, author, time): (Seq, UserId, i64), what: &FeedKind) -> Vec<Change> {
        match what {
            FeedKind::Edited { target, body: None, .. }
            | FeedKind::Reacted { target, emoji: None }
            | FeedKind::ReactionAdded { target, emoji: None }
            | FeedKind::ReactionRemoved { target, emoji: None } => self.lose(*target),
            FeedKind::Edited { target, body: Some(body), mentions, content, .. } => {
                self.change(*target, seq, |entry| {
                    // A row may already show a deletion although its `changed` is lower, and the edit before the
                    // deletion comes after the row.
                    if !entry.deleted {
                        (entry.body, entry.edited) = (Some(body.clone()), Some(time));
                        (entry.mentions, entry.content) = (mentions.clone(), content.clone());
                    }
                })
            }
            FeedKind::Deleted { target } => self.change(*target, seq, |entry| {
                (entry.body, entry.deleted, entry.reactions) = (Some(MessageText::default()), true, Vec::new());
                (entry.mentions, entry.content) = (None, None);
                entry.deleted_by = Some(author).filter(|author| *author != entry.author);
            }),
            FeedKind::Reacted { target, emoji: Some(emoji) } => self.change(*target, seq, |entry| {
                entry.reactions.retain(|reaction| reaction.user != author);
                add_reaction(entry, author, emoji);
            }),
            FeedKind::ReactionAdded { target, emoji: Some(emoji) } => {
                self.change(*target, seq, |entry| add_reaction(entry, author, emoji))
            }
            FeedKind::ReactionRemoved { target, emoji: Some(emoji) } => self.change(*target, seq, |entry| {
                entry.reactions.retain(|reaction| reaction.user != author || reaction.emoji != *emoji);
            }),
            FeedKind::Created { .. }
            | FeedKind::Joined { .. }
            | FeedKind::Left { .. }
            | FeedKind::RoleChanged { .. }
            | FeedKind::TitleChanged { .. }
            | FeedKind::Message { .. }
            | FeedKind::Withdrawn {}
            | FeedKind::Pinned { .. }
            | FeedKind::Unpinned { .. } => Vec::new(),
        }
    }

    /// Updates who is typing from an event.
    fn moments(&mut self, author: UserId, what: &FeedKind) {
        match what {
            FeedKind::Message { .. } => drop(self.typing.remove(&author)),
            FeedKind::Left { user, .. } if *user == self.me => (self.left, self.typing) = (true, BTreeMap::new()),
            FeedKind::Left { user, .. } => drop(self.typing.remove(user)),
            // When the user joins, the view has been replaced by an empty one already.
            FeedKind::Created { .. }
            | FeedKind::Joined { .. }
            | FeedKind::RoleChanged { .. }
            | FeedKind::TitleChanged { .. }
            | FeedKind::Edited { .. }
            | FeedKind::Deleted { .. }
            | FeedKind::Reacted { .. }
            | FeedKind::ReactionAdded { .. }
            | FeedKind::ReactionRemoved { .. }
            | FeedKind::Withdrawn {}
            | FeedKind::Pinned { .. }
            | FeedKind::Unpinned { .. } => {}
        }
    }

    /// Drops what was kept from before the user left: a reaction applied to such an entry would make it look newer
    /// than an edit that this device was not sent.
    fn forget(&mut self) {
        *self = Self::new(self.conversation, self.me);
    }

    /// A message has changed whose change the frame withholds, because the user joined after it was sent. A device
    /// that has the message drops it and reads the rows again; nothing is applied to the old version.
    fn lose(&mut self, target: CommandId) -> Vec<Change> {
        if let Some(seq) = self.by_id.remove(&target) {
            self.entries.remove(&seq);
            self.unread = true;
        }
        Vec::new()
    }

    fn put(&mut self, mut entry: EntryBody) -> Option<Change> {
        let known = self.entries.get(&entry.seq);
        if known.is_some_and(|known| known.changed >= entry.changed) {
            return self.replied(entry.id, entry.replies);
        }
        let fresh = known.is_none();
        entry.replies = newer(known.and_then(|known| known.replies), entry.replies);
        self.by_id.insert(entry.id, entry.seq);
        self.entries.insert(entry.seq, entry.clone());
        if self.entries.len() > ENTRIES_MAX
            && let Some((_, oldest)) = self.entries.pop_first()
        {
            self.by_id.remove(&oldest.id);
        }
        Some(if fresh { Change::New(entry) } else { Change::Changed(entry) })
    }

    /// The thread under a message that is here has come that far; nothing changes if it was further already.
    fn replied(&mut self, root: CommandId, replies: Option<RepliesBody>) -> Option<Change> {
        let root = self.by_id.get(&root).and_then(|at| self.entries.get_mut(at))?;
        let newest = newer(root.replies, replies);
        (newest != root.replies).then(|| {
            root.replies = newest;
            Change::Changed(root.clone())
        })
    }

    /// Changes a message that is here. One that is not here will be read later with its changes.
    fn change(&mut self, target: CommandId, seq: Seq, change: impl FnOnce(&mut EntryBody)) -> Vec<Change> {
        let Some(entry) = self.by_id.get(&target).and_then(|at| self.entries.get_mut(at)) else { return Vec::new() };
        if entry.kind != "message" || entry.changed >= seq {
            return Vec::new();
        }
        change(entry);
        entry.changed = seq;
        vec![Change::Changed(entry.clone())]
    }
}

/// The entry of a message with what its frame says.
fn message_of(what: &FeedKind, entry: EntryBody) -> EntryBody {
    let FeedKind::Message { body, reply_to, thread, thread_ordinal, also_in_conversation, quote, mentions, content } =
        what
    else {
        return entry;
    };
    EntryBody {
        body: Some(body.clone()),
        reply_to: *reply_to,
        quote: *quote,
        mentions: mentions.clone(),
        content: content.clone(),
        thread: *thread,
        thread_ordinal: *thread_ordinal,
        also_in_conversation: *also_in_conversation,
        ..entry
    }
}

/// Of two summaries of a thread, the one with the later message.
fn newer(one: Option<RepliesBody>, other: Option<RepliesBody>) -> Option<RepliesBody> {
    [one, other].into_iter().flatten().max_by_key(|replies| replies.last)
}

/// Adds a reaction, unless there is none to add or it is there.
fn add_reaction(entry: &mut EntryBody, user: UserId, emoji: &str) {
    let reaction = ReactionBody { user, emoji: emoji.to_owned() };
    if !emoji.is_empty() && !entry.deleted && !entry.reactions.contains(&reaction) {
        entry.reactions.push(reaction);
        entry.reactions.sort();
    }
}
