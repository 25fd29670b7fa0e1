//! The cells that an accepted event must have written to the store, derived only from its effects and the definition
//! of the tables.
//!
//! This is written from the design and `schemas/cql`, not from storage's own code, so that a mistake in one of the
//! two shows as a difference.

use domain::kinds::{Create, Withdraw};
use domain::{
    Action, Appended, Change, CommandId, Content, ConversationKind, Decision, Effects, Event, IdRow, InThread,
    Mentions, MessageBody, Quote, ReactionChange, Reply, Role, Seq, Stands, ThreadPlace, UserId,
};
use store::Value;
use store::tables::{
    BUCKETS, DELETIONS, HEADS, IDS, INVITATIONS, MEMBERS, MENTIONS, MENTIONS_OF_ALL, MESSAGE_EMOJIS, MESSAGE_EXTRAS,
    MESSAGE_VERSIONS, PINS, REACTIONS, REACTIONS_BY_EMOJI, REFUSALS, SENT, SETTINGS, THREAD_MESSAGES, THREADS,
    TIMELINE, Table, USER_CONVERSATIONS,
};

/// Slots of one bucket (CQL partition) of the timeline, as in `schemas/cql`.
const SLOTS_PER_BUCKET: u64 = 16_384;

/// Cells of one row that an event must have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) table: &'static Table,
    /// The key's values, in the order of the table's key.
    pub(super) key: Vec<Value>,
    pub(super) timestamp: i64,
    pub(super) cells: Vec<(&'static str, Value)>,
}

/// All cells that `event` must have written; none unless it was accepted.
pub(super) fn writes_of(event: &Event, appended: Appended, effects: &Effects) -> Vec<Write> {
    let mut writes = Writes { event, appended, effects, found: Vec::new() };
    if let (Decision::Refused(reason), true) = (effects.decision, effects.kept) {
        let key = vec![writes.conversation(), event.author.uuid().into(), bytes_of(event.id)];
        writes.put(&REFUSALS, key, vec![("reason", reason.name().into()), ("seq", at(appended.seq))]);
    }
    if effects.changes.is_empty() {
        return writes.found;
    }
    effects.changes.iter().for_each(|change| writes.change(change));
    writes.head();
    writes.found
}

/// The key of the row of a command's id.
pub(super) fn id_key(event: &Event, id: CommandId) -> Vec<Value> {
    vec![event.conversation.uuid().into(), id.week().into(), bytes_of(id)]
}

struct Writes<'a> {
    event: &'a Event,
    appended: Appended,
    effects: &'a Effects,
    found: Vec<Write>,
}

impl Writes<'_> {
    fn put(&mut self, table: &'static Table, key: Vec<Value>, cells: Vec<(&'static str, Value)>) {
        self.found.push(Write { table, key, timestamp: self.appended.seq.timestamp(), cells });
    }

    fn conversation(&self) -> Value {
        self.event.conversation.uuid().into()
    }

    /// The key of a timeline row.
    fn entry_key(&self, slot: u64, seq: Seq) -> Vec<Value> {
        vec![self.conversation(), count(slot / SLOTS_PER_BUCKET), at(seq)]
    }

    fn change(&mut self, change: &Change) {
        let (seq, now) = (self.appended.seq, at(self.appended.seq));
        match change {
            Change::Timeline { slot, ordinal, content } => self.entry(*slot, *ordinal, content),
            Change::Body { seq: message, slot, body, kept: true, .. } => self.kept_edit((*message, *slot), body),
            Change::Body { seq: message, slot, body, whole, .. } => {
                let mut cells = vec![("changed", now), ("edited", self.appended.append_time_ms.into())];
                cells.extend(said_anew(body, *whole));
                self.put(&TIMELINE, self.entry_key(*slot, *message), cells);
            }
            Change::Extras { seq: message, slot, author, now: extras, added, removed, all, edit } => {
                let at_message = self.entry_key(*slot, *message);
                let key = [at_message.clone(), vec![now]].concat();
                let (custom, edit) = (("custom", extras.custom.into()), ("edit", edit.is_some().into()));
                self.put(&MESSAGE_EXTRAS, key, vec![("mentions", mentions_of(&extras.mentions)), custom, edit]);
                let users = added.iter().map(|user| (user, true)).chain(removed.iter().map(|user| (user, false)));
                for (user, stands) in users {
                    let key = vec![user.uuid().into(), self.conversation(), at(*message)];
                    self.put(&MENTIONS, key, vec![("place", count(*slot)), ("stands", stands.into())]);
                }
                if let Some(stands) = *all {
                    let author = ("author", author.uuid().into());
                    let cells = vec![("place", count(*slot)), ("stands", stands.into()), author];
                    self.put(&MENTIONS_OF_ALL, at_message, cells);
                }
            }
            Change::Thread { of, slot, ordinal } => self.thread(*of, *slot, *ordinal),
            Change::Deleted { id, seq: message, slot, by, thread, whole, edits } => {
                let mut cells = vec![("deleted", true.into()), ("changed", now.clone())];
                cells.extend(said_anew(&MessageBody::default(), *whole));
                cells.extend(by.map(|user| ("deleted_by", user.uuid().into())));
                if !edits.is_empty() {
                    cells.extend(as_edited(said_anew(&MessageBody::default(), true)));
                }
                for edit in edits {
                    let key = vec![self.conversation(), at(*message), at(*edit)];
                    self.put(&MESSAGE_VERSIONS, key, said_anew(&MessageBody::default(), true));
                }
                self.put(&TIMELINE, self.entry_key(*slot, *message), cells);
                self.put(&IDS, id_key(self.event, *id), vec![("deleted", now.clone())]);
                if self.event.rules >= 2 && thread.is_none_or(|thread| thread.also_in_conversation) {
                    self.put(&DELETIONS, self.entry_key(*slot, *message), vec![("deleted", now.clone())]);
                }
                if let Some(thread) = thread {
                    let key = vec![self.conversation(), at(thread.root_seq), at(*message)];
                    self.put(&THREAD_MESSAGES, key, vec![("deleted", now)]);
                }
            }
            Change::Reaction { seq: message, slot, emoji, change, .. } => {
                self.reaction(self.entry_key(*slot, *message), emoji, *change);
            }
            Change::Member { user, role } => self.member(*user, *role),
            Change::Pins(pins) => {
                let mut bytes = Vec::new();
                for pin in pins {
                    bytes.extend(pin.id.as_bytes());
                    bytes.extend(pin.seq.get().to_be_bytes());
                    bytes.extend(pin.slot.to_be_bytes());
                }
                self.put(&PINS, vec![self.conversation(), at(seq)], vec![("pins", Value::Blob(bytes))]);
            }
            Change::Settings(settings) => {
                let cells = vec![("kind", settings.kind.name().into()), ("title", settings.title.clone().into())];
                self.put(&SETTINGS, vec![self.conversation(), at(seq)], cells);
            }
            Change::Id { id, row } => self.put(&IDS, id_key(self.event, *id), id_cells(row)),
        }
    }

    /// What a message says since an edit: beside what it said at first, and in a version of its own.
    fn kept_edit(&mut self, (message, slot): (Seq, u64), body: &MessageBody) {
        let (now, time) = (at(self.appended.seq), Value::from(self.appended.append_time_ms));
        let mut cells = as_edited(said_anew(body, true));
        cells.extend([("edited_by", now.clone()), ("changed", now.clone()), ("edited", time.clone())]);
        self.put(&TIMELINE, self.entry_key(slot, message), cells);
        let said = said_anew(body, true).into_iter().filter(|(name, value)| match (*name, value) {
            ("mentions", Value::Blob(bytes)) => bytes != &[0],
            ("custom_kind" | "custom_data", _) => body.custom.is_some(),
            _ => true,
        });
        let version: Vec<_> = said.chain([("time", time)]).collect();
        self.put(&MESSAGE_VERSIONS, vec![self.conversation(), at(message), now], version);
    }

    fn reaction(&mut self, message: Vec<Value>, emoji: &str, change: ReactionChange) {
        let (author, now) = (self.event.author.uuid().into(), at(self.appended.seq));
        if change == (ReactionChange::Added { is_new: true }) {
            let key = [message.clone(), vec![emoji.into()]].concat();
            self.put(&MESSAGE_EMOJIS, key, vec![("first", now.clone())]);
        }
        if change == ReactionChange::Only {
            let key = [message, vec![author]].concat();
            self.put(&REACTIONS, key, vec![("emoji", emoji.into()), ("changed", now)]);
        } else {
            let key = [message, vec![author, emoji.into()]].concat();
            let stands = change != ReactionChange::Removed;
            self.put(&REACTIONS_BY_EMOJI, key, vec![("stands", stands.into()), ("changed", now)]);
        }
    }

    fn entry(&mut self, slot: u64, ordinal: u64, content: &Content) {
        let seq = self.appended.seq;
        let mut cells = vec![
            ("id", bytes_of(self.event.id)),
            ("author", self.event.author.uuid().into()),
            ("time", self.appended.append_time_ms.into()),
            ("place", count(slot)),
            ("ordinal", count(ordinal)),
        ];
        match content {
            Content::Message { body, reply_to, thread } => {
                cells.extend([("kind", "message".into()), ("body", body.text.clone().into_record().into())]);
                if body.mentions.all || !body.mentions.users().is_empty() {
                    cells.push(("mentions", mentions_of(&body.mentions)));
                }
                cells.extend(body.custom.iter().flat_map(|custom| {
                    let data = custom.data.clone().into_record();
                    [("custom_kind", custom.kind.clone().into()), ("custom_data", data.into())]
                }));
                if let Some(Reply { to, quote }) = *reply_to {
                    cells.push(("reply_to", bytes_of(to)));
                    cells.extend(quote.map(|Quote { from, to }| {
                        ("quote", Value::Blob(((u64::from(from) << 32) | u64::from(to)).to_be_bytes().to_vec()))
                    }));
                }
                if let Some(ThreadPlace { root, ordinal, also_in_conversation }) = *thread {
                    cells.extend([("thread", bytes_of(root)), ("thread_ordinal", count(ordinal))]);
                    cells.push(("also_in_conversation", also_in_conversation.into()));
                }
                if thread.is_none_or(|thread| thread.also_in_conversation) {
                    self.last_message(slot, ordinal);
                }
            }
            Content::Created => cells.push(("kind", "created".into())),
            Content::Joined(users) => cells.extend([("kind", "joined".into()), ("users", users_of(users))]),
            Content::Left(user) => cells.extend([("kind", "left".into()), ("users", users_of(&[*user]))]),
            Content::Title(title) => cells.extend([("kind", "title".into()), ("body", title.clone().into())]),
        }
        self.put(&TIMELINE, self.entry_key(slot, seq), cells);
        if slot.is_multiple_of(SLOTS_PER_BUCKET) {
            let key = vec![self.conversation(), count(slot / SLOTS_PER_BUCKET)];
            self.put(&BUCKETS, key, vec![("start", at(seq))]);
        }
    }

    /// The last message of the main view, and the author's own one.
    fn last_message(&mut self, slot: u64, ordinal: u64) {
        let seq = self.appended.seq;
        let cells = vec![("message_seq", at(seq)), ("message_place", count(slot))];
        self.put(&HEADS, vec![self.conversation()], cells);
        if self.event.rules >= 2 {
            let key = vec![self.event.author.uuid().into(), self.conversation()];
            self.put(&SENT, key, vec![("seq", at(seq)), ("ordinal", count(ordinal))]);
        }
    }

    /// A new message of a thread: its own row, and the thread's last message.
    fn thread(&mut self, thread: InThread, slot: u64, ordinal: u64) {
        let (root, seq) = (self.entry_key(thread.root_slot, thread.root_seq), at(self.appended.seq));
        let key = vec![self.conversation(), at(thread.root_seq), seq.clone()];
        self.put(&THREAD_MESSAGES, key, vec![("place", count(slot)), ("ordinal", count(ordinal))]);
        let (place, time) = (count(thread.root_slot), self.appended.append_time_ms.into());
        let cells = vec![("place", place), ("ordinal", count(ordinal)), ("time", time), ("last", seq)];
        self.put(&THREADS, root, cells);
    }

    fn member(&mut self, user: UserId, role: Option<Role>) {
        let (seq, name) = (self.appended.seq, role.map_or("", Role::name));
        let key = vec![self.conversation(), user.uuid().into(), at(seq)];
        self.put(&MEMBERS, key, vec![("role", name.into())]);
        let mut cells = vec![("role", name.into()), ("changed", at(seq))];
        let joins = matches!(self.event.action, Action::Create(_) | Action::AddMembers(_));
        if role.is_some() && joins {
            cells.extend([("joined", at(seq)), ("joined_ordinal", count(self.effects.ordinal))]);
        }
        self.put(&USER_CONVERSATIONS, vec![user.uuid().into(), self.conversation()], cells);
        let direct = matches!(self.event.action, Action::Create(Create { kind: ConversationKind::Direct, .. }));
        if role.is_some() && joins && !direct && self.event.rules >= 2 && user != self.event.author {
            let cells = vec![("inviter", self.event.author.uuid().into()), ("seq", at(seq))];
            self.put(&INVITATIONS, vec![user.uuid().into(), self.conversation()], cells);
        }
    }

    fn head(&mut self) {
        let cells = vec![
            ("seq", at(self.appended.seq)),
            ("time", self.appended.append_time_ms.into()),
            ("place", count(self.effects.slot)),
            ("ordinal", count(self.effects.ordinal)),
        ];
        // A withdrawal is not shown in the conversation.
        if self.event.rules < 2 || self.event.action != Action::Withdraw(Withdraw) {
            self.put(&HEADS, vec![self.conversation()], cells);
        }
        let stamp = self.event.id.stamp_ms();
        let (key, cells) = (vec![self.conversation()], vec![("newest_stamp", stamp.into())]);
        // A monotone cell: its timestamp is its value.
        self.found.push(Write { table: &HEADS, key, timestamp: stamp, cells });
    }
}

fn id_cells(row: &IdRow) -> Vec<(&'static str, Value)> {
    let mut cells =
        vec![("author", row.author.uuid().into()), ("seq", at(row.seq)), ("hash", row.hash.0.to_vec().into())];
    match row.stands {
        Stands::Message { slot } => {
            let stands = if row.thread.is_some() { "thread_message" } else { "message" };
            cells.extend([("stands", stands.into()), ("place", count(slot))]);
        }
        Stands::Command => cells.push(("stands", "command".into())),
        Stands::Withdrawal => cells.push(("stands", "withdrawal".into())),
    }
    if let Some(InThread { root_seq, root_slot, also_in_conversation }) = row.thread {
        cells.extend([("root", at(root_seq)), ("root_place", count(root_slot))]);
        cells.push(("also_in_conversation", also_in_conversation.into()));
    }
    cells
}

fn at(seq: Seq) -> Value {
    Value::Bigint(seq.timestamp())
}

/// Slots, ordinals and buckets are counts, far below 2^63.
fn count(number: u64) -> Value {
    Value::Bigint(i64::try_from(number).unwrap_or(i64::MAX))
}

fn bytes_of(id: CommandId) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

/// The cells of what a message says after an edit or a deletion; `whole`: also those besides its text.
fn said_anew(body: &MessageBody, whole: bool) -> Vec<(&'static str, Value)> {
    let mut cells = vec![("body", body.text.clone().into_record().into())];
    if whole {
        let custom = body.custom.clone().map(|custom| (custom.kind, custom.data.into_record()));
        let (kind, data) = custom.unwrap_or_default();
        cells.push(("mentions", mentions_of(&body.mentions)));
        cells.extend([("custom_kind", kind.into()), ("custom_data", data.into())]);
    }
    cells
}

/// The same in the cells of what a message says since its last edit.
fn as_edited(cells: Vec<(&'static str, Value)>) -> Vec<(&'static str, Value)> {
    let name = |name| match name {
        "body" => "edited_body",
        "mentions" => "edited_mentions",
        "custom_kind" => "edited_custom_kind",
        _ => "edited_custom_data",
    };
    cells.into_iter().map(|(cell, value)| (name(cell), value)).collect()
}

fn mentions_of(mentions: &Mentions) -> Value {
    let mut bytes = vec![u8::from(mentions.all)];
    mentions.users().iter().for_each(|user| bytes.extend(user.as_bytes()));
    Value::Blob(bytes)
}

fn users_of(users: &[UserId]) -> Value {
    Value::Blob(users.iter().flat_map(|user| *user.as_bytes()).collect())
}
