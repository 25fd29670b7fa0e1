//! The messages of one conversation as a device shows them, merged from rows and feed frames.
//!
//! Rows and frames may come in any order and more than once: of two versions of an entry, the one with the higher
//! `changed` wins, and no entry is removed because rows lack it. A frame that comes before the rows have been read
//! (at the beginning, after a reset, after joining) may change an entry that is not here: then the rows must be
//! read as of that frame or later.

use std::collections::{BTreeMap, HashMap};

use domain::{CommandId, ConversationId, Doing, MessageText, SIGNAL_SHOWN, Seq, TYPING_MEMBERS_MAX, UserId};
use protocol::{EntryBody, FeedFrame, FeedKind, ReactionBody, SignalFrame};
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
            users: Vec::new(),
            edited: None,
            deleted: false,
            deleted_by: None,
            reactions: Vec::new(),
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
            FeedKind::Message { body, reply_to } => {
                of(EntryBody { body: Some(body.clone()), reply_to: *reply_to, ..entry("message") }, self)
            }
            FeedKind::Edited { target, body: None }
            | FeedKind::Reacted { target, emoji: None }
            | FeedKind::ReactionAdded { target, emoji: None }
            | FeedKind::ReactionRemoved { target, emoji: None } => self.lose(*target),
            FeedKind::Edited { target, body: Some(body) } => self.change(*target, *seq, |entry| {
                // A row may already show a deletion although its `changed` is lower, and the edit before the
                // deletion comes after the row.
                if !entry.deleted {
                    (entry.body, entry.edited) = (Some(body.clone()), Some(*time));
                }
            }),
            FeedKind::Deleted { target } => self.change(*target, *seq, |entry| {
                (entry.body, entry.deleted, entry.reactions) = (Some(MessageText::default()), true, Vec::new());
                entry.deleted_by = Some(*author).filter(|author| *author != entry.author);
            }),
            FeedKind::Reacted { target, emoji: Some(emoji) } => self.change(*target, *seq, |entry| {
                entry.reactions.retain(|reaction| reaction.user != *author);
                add_reaction(entry, *author, emoji);
            }),
            FeedKind::ReactionAdded { target, emoji: Some(emoji) } => {
                self.change(*target, *seq, |entry| add_reaction(entry, *author, emoji))
            }
            FeedKind::ReactionRemoved { target, emoji: Some(emoji) } => self.change(*target, *seq, |entry| {
                entry.reactions.retain(|reaction| reaction.user != *author || reaction.emoji != *emoji);
            }),
            FeedKind::RoleChanged { .. } | FeedKind::Withdrawn {} => Vec::new(),
        };
        Applied { changes, reread: self.unread.then_some(*seq) }
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
            | FeedKind::Withdrawn {} => {}
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

    fn put(&mut self, entry: EntryBody) -> Option<Change> {
        let known = self.entries.get(&entry.seq);
        if known.is_some_and(|known| known.changed >= entry.changed) {
            return None;
        }
        let fresh = known.is_none();
        self.by_id.insert(entry.id, entry.seq);
        self.entries.insert(entry.seq, entry.clone());
        if self.entries.len() > ENTRIES_MAX
            && let Some((_, oldest)) = self.entries.pop_first()
        {
            self.by_id.remove(&oldest.id);
        }
        Some(if fresh { Change::New(entry) } else { Change::Changed(entry) })
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

/// Adds a reaction, unless there is none to add or it is there.
fn add_reaction(entry: &mut EntryBody, user: UserId, emoji: &str) {
    let reaction = ReactionBody { user, emoji: emoji.to_owned() };
    if !emoji.is_empty() && !entry.deleted && !entry.reactions.contains(&reaction) {
        entry.reactions.push(reaction);
        entry.reactions.sort();
    }
}

#[cfg(test)]
mod tests {
    use protocol::DoingName;

    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::try_from(n).unwrap()
    }

    fn user(n: u8) -> UserId {
        format!("00000000-0000-4000-8000-0000000000{n:02}").parse().unwrap()
    }

    fn frame(n: u64, what: FeedKind) -> FeedFrame {
        let conversation = ConversationId::direct(user(1), user(2));
        let id = CommandId::first_at(i64::try_from(n).unwrap());
        FeedFrame::Event { conversation, seq: seq(n), id, author: user(1), time: 1000, ordinal: Some(n), what }
    }

    #[test]
    fn what_was_kept_from_before_an_absence_is_not_built_on() {
        let conversation = ConversationId::direct(user(1), user(2));
        let mut view = View::new(conversation, user(2));
        view.read([]);
        view.apply(&frame(1, message("old")));
        // The user was removed at 2, the text edited at 3, the user added again at 4.
        assert_eq!(view.apply(&frame(4, FeedKind::Joined { members: vec![user(2)] })).reread, Some(seq(4)));
        let reacted = FeedKind::Reacted { target: CommandId::first_at(1), emoji: Some("+1".into()) };
        assert_eq!(view.apply(&frame(5, reacted)).reread, Some(seq(5)), "rows as of the reaction are wanted");
        let mut writer = View::new(conversation, user(1));
        writer.apply(&frame(1, message("old")));
        writer.apply(&frame(3, FeedKind::Edited { target: CommandId::first_at(1), body: Some("new".into()) }));
        writer.apply(&frame(5, FeedKind::Reacted { target: CommandId::first_at(1), emoji: Some("+1".into()) }));
        view.read(writer.entries().cloned().collect::<Vec<_>>());
        let shown = view.entry(CommandId::first_at(1)).unwrap();
        assert_eq!((&shown.body, shown.reactions.len()), (&Some("new".into()), 1));
        assert_eq!(view.apply(&frame(6, message("next"))).reread, None);
    }

    #[test]
    fn a_frame_that_comes_before_the_rows_wants_them_as_of_its_place() {
        let conversation = ConversationId::direct(user(1), user(2));
        let edited = |n| frame(n, FeedKind::Edited { target: CommandId::first_at(1), body: Some("new".into()) });
        let mut writer = View::new(conversation, user(1));
        writer.apply(&frame(1, message("old")));
        let older: Vec<EntryBody> = writer.entries().cloned().collect();
        writer.apply(&edited(3));

        // After a reset at 2, the edit is buffered until the sync is complete, and storage has not reached it yet.
        let mut view = View::new(conversation, user(2));
        assert_eq!(view.apply(&edited(3)).reread, Some(seq(3)), "there is nothing yet that it changes");
        view.merge(older);
        assert_eq!(view.apply(&frame(4, message("next"))).reread, Some(seq(4)), "rows as of whenever do not do");
        view.read(writer.entries().cloned().collect::<Vec<_>>());
        assert_eq!(view.entry(CommandId::first_at(1)).unwrap().body, Some("new".into()));
        assert_eq!(view.apply(&frame(5, message("more"))).reread, None);
    }

    /// Issue 10, item 8: for a user who joined after the message was sent, the frame only says that it has
    /// changed.
    #[test]
    fn a_change_that_a_frame_withholds_is_read() {
        let conversation = ConversationId::direct(user(1), user(2));
        let withheld = |n| frame(n, FeedKind::Edited { target: CommandId::first_at(1), body: None });
        let mut view = View::new(conversation, user(2));
        view.read([]);
        assert_eq!(view.apply(&withheld(2)), Applied::default(), "there is nothing that it changes");
        view.apply(&frame(1, message("old")));
        assert_eq!(view.apply(&withheld(3)).reread, Some(seq(3)));
        let mut writer = View::new(conversation, user(1));
        writer.apply(&frame(1, message("old")));
        writer.apply(&frame(3, FeedKind::Edited { target: CommandId::first_at(1), body: Some("new".into()) }));
        view.read(writer.entries().cloned().collect::<Vec<_>>());
        assert_eq!(view.entry(CommandId::first_at(1)).unwrap().body, Some("new".into()));
    }

    /// The entry is as history shows it: present members and title belong to the conversation, not to the entry.
    #[test]
    fn the_entry_of_a_creation_names_nobody_and_stays_as_it_is() {
        let mut view = View::new(ConversationId::direct(user(1), user(2)), user(2));
        let members = vec![user(1), user(2)];
        view.apply(&frame(1, FeedKind::Created { conversation_kind: "group".into(), title: "Tea".into(), members }));
        view.read([]);
        let created = view.entry(CommandId::first_at(1)).unwrap().clone();
        assert_eq!((created.kind.as_str(), &created.body, created.users.len()), ("created", &None, 0));
        for (n, later) in [
            (2, FeedKind::TitleChanged { title: "Coffee".into() }),
            (3, FeedKind::Left { user: user(2), owner: None }),
            // The entry with that id is no message, so no edit applies to it.
            (4, FeedKind::Edited { target: CommandId::first_at(1), body: Some("Coffee".into()) }),
        ] {
            view.apply(&frame(n, later));
        }
        assert_eq!(view.entry(CommandId::first_at(1)), Some(&created));
    }

    fn message(body: &str) -> FeedKind {
        FeedKind::Message { body: body.into(), reply_to: None }
    }

    #[test]
    fn rows_and_frames_come_to_the_same_in_any_order() {
        let frames = [
            frame(1, message("a")),
            frame(2, message("b")),
            frame(3, FeedKind::Edited { target: CommandId::first_at(1), body: Some("a!".into()) }),
            frame(4, FeedKind::Reacted { target: CommandId::first_at(2), emoji: Some("+1".into()) }),
            frame(5, FeedKind::Deleted { target: CommandId::first_at(2) }),
        ];
        let conversation = ConversationId::direct(user(1), user(2));
        let mut live = View::new(conversation, user(2));
        for frame in &frames {
            assert_eq!(live.apply(frame).changes.len(), 1, "{frame:?}");
            assert_eq!(live.apply(frame).changes, [], "a second time changes nothing");
        }
        let rows: Vec<EntryBody> = live.entries().cloned().collect();
        assert_eq!(rows[0].body, Some("a!".into()));
        assert!(rows[1].deleted && rows[1].reactions.is_empty());

        // Rows that are ahead of the feed, then the feed.
        let mut read = View::new(conversation, user(2));
        assert_eq!(read.merge(rows.clone()).len(), 2);
        for frame in &frames {
            assert_eq!(read.apply(frame).changes, []);
        }
        assert_eq!(read.entries().cloned().collect::<Vec<_>>(), rows);
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_is_typing_for_six_seconds_or_until_they_say_it() {
        let mut view = View::new(ConversationId::direct(user(1), user(2)), user(2));
        let (doing, thread) = (DoingName::Text, None);
        let conversation = ConversationId::direct(user(1), user(2));
        let typing = |n| SignalFrame::Typing { conversation, user: user(n), doing, thread };
        let shown = |view: &View| view.typing(Instant::now()).map(|typing| typing.user).collect::<Vec<_>>();
        let conversation = ConversationId::direct(user(1), user(3));
        let elsewhere = SignalFrame::Typing { conversation, user: user(1), doing, thread };
        for signal in [typing(2), elsewhere] {
            view.signal(&signal, Instant::now());
            assert_eq!(shown(&view), [], "neither oneself, nor what is said elsewhere");
        }
        view.signal(&typing(1), Instant::now());
        view.signal(&typing(3), Instant::now());
        tokio::time::advance(SIGNAL_SHOWN / 2).await;
        view.signal(&typing(3), Instant::now());
        assert_eq!(shown(&view), [user(1), user(3)]);
        tokio::time::advance(SIGNAL_SHOWN / 2).await;
        assert_eq!(shown(&view), [user(3)], "for so long from the last one");
        view.signal(&typing(1), Instant::now());
        view.apply(&frame(1, message("a")));
        assert_eq!(shown(&view), [user(3)], "the message of user 1 is there");
        view.apply(&frame(2, FeedKind::Left { user: user(2), owner: None }));
        view.signal(&typing(3), Instant::now());
        assert_eq!(shown(&view), [], "who has left is shown nothing");
        view.apply(&frame(3, FeedKind::Joined { members: vec![user(2)] }));
        view.signal(&typing(3), Instant::now());
        assert_eq!(shown(&view), [user(3)]);
        // The newest counts: the text has become a file in a thread.
        let (doing, thread) = (DoingName::File, Some(CommandId::first_at(1)));
        let conversation = ConversationId::direct(user(1), user(2));
        view.signal(&SignalFrame::Typing { conversation, user: user(3), doing, thread }, Instant::now());
        let shown: Vec<_> = view.typing(Instant::now()).collect();
        assert_eq!(shown, [Typing { user: user(3), doing: Doing::File, thread }]);
    }

    #[test]
    fn joining_asks_for_the_rows_before() {
        let conversation = ConversationId::direct(user(1), user(2));
        let mut view = View::new(conversation, user(2));
        view.read([]);
        let joined = |members: Vec<UserId>| frame(9, FeedKind::Joined { members });
        assert_eq!(view.apply(&joined(vec![user(3)])).reread, None);
        assert_eq!(view.apply(&joined(vec![user(2)])).reread, Some(seq(9)));
    }

    #[test]
    fn the_oldest_entries_are_forgotten_at_the_bound() {
        let mut view = View::new(ConversationId::direct(user(1), user(2)), user(2));
        for n in 1..=ENTRIES_MAX as u64 + 5 {
            view.apply(&frame(n, message("x")));
        }
        assert_eq!(view.entries().count(), ENTRIES_MAX);
        assert_eq!(view.entry(CommandId::first_at(1)), None);
        assert_eq!(view.newest(), Some(seq(ENTRIES_MAX as u64 + 5)));
    }
}
