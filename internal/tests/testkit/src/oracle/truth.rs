//! What the log means: conversations, memberships, frames and read marks, judged by the reducer with all facts and
//! no caches.

use std::collections::{BTreeMap, BTreeSet};

use domain::kinds::Withdraw;
use domain::{
    Action, Appended, Change, CommandId, Content, ConversationId, Decision, Event, IdRow, MessageBody, MessageText,
    ReactionChange, Seq, UserId,
};
use eventlog::Meaning;
use protocol::{ContentBody, EntryBody, FeedFrame, MentionsBody, QuoteBody, ReactionBody, RepliesBody};
use workload::Reference;

use super::log::Logged;
use crate::device::digest;

/// The result of judging the log.
#[derive(Debug, Default)]
pub struct Truth {
    /// Every conversation that an event names.
    pub stories: BTreeMap<ConversationId, Story>,
    /// The frames that each user must receive, in order.
    pub frames: BTreeMap<UserId, BTreeMap<ConversationId, BTreeMap<Seq, Frame>>>,
    /// Each user's highest read mark, with its ordinal.
    pub marks: BTreeMap<UserId, BTreeMap<ConversationId, (Seq, u64)>>,
    /// Number of events, with copies and refused ones.
    pub events: usize,
    /// Number of events that took effect.
    pub accepted: usize,
}

/// A frame that a user must receive.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// The digest of its content.
    pub digest: u64,
    /// Whether it tells of an accepted event of a conversation that the user is or was in, so that the head read by
    /// a sync covers it. All other frames, and withdrawals, go to the author only.
    pub accepted: bool,
}

/// A conversation.
#[derive(Debug, Default)]
pub struct Story {
    /// Every entry of the timeline with all its versions, oldest first.
    pub entries: BTreeMap<Seq, Vec<EntryBody>>,
    /// The periods in which each user was a member: from joining to leaving, both included.
    pub spans: BTreeMap<UserId, Vec<(Seq, Option<Seq>)>>,
    /// Every accepted id.
    pub ids: BTreeMap<CommandId, IdRow>,
    /// Every copy of every command, with its author.
    pub copies: BTreeMap<CommandId, Vec<(Seq, UserId)>>,
    /// The seq of the last accepted event, and the number of messages up to it.
    pub head: (Seq, u64),
    /// The number of messages before each user's latest joining.
    pub joined_ordinal: BTreeMap<UserId, u64>,
    /// Messages that were deleted under version 2 of the rules or later: they do not count as unread.
    pub gone: BTreeSet<Seq>,
    /// The pinned messages.
    pub pins: BTreeSet<Seq>,
    /// What messages have said since their edits under version 3 of the rules or later, by the seq of each.
    pub edits: BTreeMap<Seq, Vec<(Seq, MessageText)>>,
    /// Each user's last message under version 2 of the rules or later.
    pub sent: BTreeMap<UserId, Seq>,
}

impl Truth {
    /// Judges the whole log.
    #[must_use]
    pub fn of(logged: &Logged) -> Self {
        let (mut truth, mut reference) = (Self::default(), Reference::default());
        for message in logged.messages.iter().flatten() {
            if let Meaning::Event(event) = &message.meaning {
                truth.judge(&mut reference, event, message.appended);
            }
        }
        for mark in &logged.marks {
            let known = truth.marks.entry(mark.user).or_default().entry(mark.conversation).or_default();
            *known = (*known).max((mark.seq, mark.ordinal));
        }
        truth
    }

    fn judge(&mut self, reference: &mut Reference, event: &Event, appended: Appended) {
        let effects = reference.judge(event, appended);
        let accepted = effects.decision == Decision::Accepted;
        self.events += 1;
        self.accepted += usize::from(accepted);
        let story = self.stories.entry(event.conversation).or_default();
        story.copies.entry(event.id).or_default().push((appended.seq, event.author));
        for change in &effects.changes {
            story.change(event, appended, change, effects.ordinal);
        }
        // A withdrawal concerns its author only: it does not move the head. Under version 1 of the rules it did.
        let moves = accepted && (event.rules < 2 || event.action != Action::Withdraw(Withdraw));
        if moves {
            story.head = (appended.seq, effects.ordinal);
        }
        let said = event.action.target().and_then(|target| story.ids.get(&target)).map(|row| row.seq);
        let frame = FeedFrame::of(event, appended, &effects);
        let (whole, withheld) = (digest(&frame), digest(&frame.withheld()));
        for user in &effects.recipients {
            // Written out here, independently of the reducer: who has joined after a message learns that it changed,
            // but not how.
            let joined = story.spans.get(user).and_then(|spans| spans.last()).map(|(from, _)| *from);
            let blind = event.rules >= 2 && accepted && *user != event.author && said < joined && said.is_some();
            let digest = if blind { withheld } else { whole };
            let frame = Frame { digest, accepted: moves && story.spans.contains_key(user) };
            self.frames.entry(*user).or_default().entry(event.conversation).or_default().insert(appended.seq, frame);
        }
    }

    /// The conversations that the user is or was in.
    pub fn conversations_of(&self, user: UserId) -> impl Iterator<Item = (ConversationId, &Story)> {
        self.stories.iter().filter(move |(_, story)| story.spans.contains_key(&user)).map(|(id, story)| (*id, story))
    }

    /// Whether each device of the user must show a logged mark. Another producer may log a mark at what the user cannot
    /// see, even before the user is in the conversation; a sync lists the user's conversations only, so a device that
    /// missed its frame does not show it.
    pub fn must_show_mark(&self, user: UserId, conversation: ConversationId, seq: Seq) -> bool {
        let story = self.stories.get(&conversation);
        story.is_some_and(|story| story.visible(user).any(|(visible, _)| visible == seq))
    }
}

impl Story {
    fn change(&mut self, event: &Event, appended: Appended, change: &Change, ordinal: u64) {
        match change {
            Change::Timeline { ordinal, content, .. } => {
                self.entries.insert(appended.seq, vec![entry(event, appended, *ordinal, content)]);
                if event.rules >= 2 && in_main_view(content) {
                    self.sent.insert(event.author, appended.seq);
                }
            }
            Change::Body { seq, body, .. } => {
                if event.rules >= 3 {
                    self.edits.entry(*seq).or_default().push((appended.seq, body.text.clone()));
                }
                self.version(*seq, appended.seq, |entry| {
                    say(entry, body);
                    entry.edited = Some(appended.append_time_ms);
                });
            }
            // Its root shows how long the thread is.
            Change::Thread { of, ordinal, .. } => {
                let (last, last_time) = (appended.seq, appended.append_time_ms);
                let versions = self.entries.entry(of.root_seq).or_default();
                let root = versions.last().cloned();
                let replies = Some(RepliesBody { messages: *ordinal, last, last_time });
                versions.extend(root.map(|root| EntryBody { replies, ..root }));
            }
            Change::Deleted { seq, by, .. } => {
                self.gone.extend((event.rules >= 2).then_some(*seq));
                self.version(*seq, appended.seq, |entry| {
                    say(entry, &MessageBody::default());
                    entry.deleted = true;
                    entry.deleted_by = *by;
                    entry.reactions.clear();
                });
            }
            Change::Reaction { seq, emoji, change, .. } => self.version(*seq, appended.seq, |entry| {
                let only = *change == ReactionChange::Only;
                entry.reactions.retain(|theirs| theirs.user != event.author || !only && theirs.emoji != *emoji);
                if *change != ReactionChange::Removed && !emoji.is_empty() {
                    entry.reactions.push(ReactionBody { user: event.author, emoji: emoji.clone() });
                    entry.reactions.sort();
                }
            }),
            Change::Member { user, role } => {
                let spans = self.spans.entry(*user).or_default();
                match (spans.last_mut().filter(|(_, to)| to.is_none()), role) {
                    (None, Some(_)) => {
                        spans.push((appended.seq, None));
                        self.joined_ordinal.insert(*user, ordinal);
                    }
                    (Some((_, to)), None) => *to = Some(appended.seq),
                    _ => {}
                }
            }
            Change::Id { id, row } => drop(self.ids.insert(*id, *row)),
            Change::Pins(pins) => self.pins = pins.iter().map(|pin| pin.seq).collect(),
            // What messages say is in the entries.
            Change::Settings(_) | Change::Extras { .. } => {}
        }
    }

    fn version(&mut self, seq: Seq, changed: Seq, change: impl FnOnce(&mut EntryBody)) {
        let versions = self.entries.entry(seq).or_default();
        if let Some(mut entry) = versions.last().cloned() {
            change(&mut entry);
            entry.changed = changed;
            versions.push(entry);
        }
    }

    /// The unread messages, counted one by one: messages of others that are not deleted, after the user's read mark,
    /// latest joining and last own message.
    #[must_use]
    pub fn unread(&self, user: UserId, mark: Option<Seq>) -> u64 {
        let joined = self.spans.get(&user).and_then(|spans| spans.last()).map(|(from, _)| *from);
        let read = mark.max(joined).max(self.sent.get(&user).copied());
        let stands = |(seq, versions): &(&Seq, &Vec<EntryBody>)| {
            Some(**seq) > read && !self.gone.contains(*seq) && versions.first().is_some_and(counts)
        };
        self.entries.iter().filter(stands).count() as u64
    }

    /// The messages of others that mention the user, counted one by one: those beyond what the user has read.
    #[must_use]
    pub fn mentions(&self, user: UserId, mark: Option<Seq>) -> u64 {
        let joined = self.spans.get(&user).and_then(|spans| spans.last()).map(|(from, _)| *from);
        let read = mark.max(joined).max(self.sent.get(&user).copied());
        let newest =
            self.entries.iter().filter(|(seq, _)| Some(**seq) > read).filter_map(|(_, versions)| versions.last());
        newest.filter(|entry| entry.author != user && mentions(entry, user)).count() as u64
    }

    /// The seq at which the user left; `None` for members.
    #[must_use]
    pub fn left(&self, user: UserId) -> Option<Seq> {
        self.spans.get(&user)?.last()?.1
    }

    /// Whether the user is a member at the end of the log.
    #[must_use]
    pub fn is_member(&self, user: UserId) -> bool {
        self.spans.get(&user).and_then(|spans| spans.last()).is_some_and(|(_, to)| to.is_none())
    }

    /// The entries that the user may see, with all versions of each.
    pub fn visible(&self, user: UserId) -> impl Iterator<Item = (Seq, &Vec<EntryBody>)> {
        let spans = self.spans.get(&user).map(Vec::as_slice).unwrap_or_default();
        let seen = move |seq: Seq| spans.iter().any(|(from, to)| *from <= seq && to.is_none_or(|to| seq <= to));
        self.entries.iter().filter(move |(seq, _)| seen(**seq)).map(|(seq, versions)| (*seq, versions))
    }

    /// What the history shows the user of an entry: the newest version to members; to users who have left, only what
    /// is known to be as of the leaving.
    #[must_use]
    pub fn shown(&self, user: UserId, versions: &[EntryBody]) -> Option<EntryBody> {
        let (newest, left) = (versions.last()?, self.left(user));
        Some(match left {
            Some(left) if newest.changed > left => withheld(newest, left),
            Some(left) if newest_of(newest) > left => EntryBody { replies: None, withheld: true, ..newest.clone() },
            Some(_) | None => newest.clone(),
        })
    }
}

/// The version of an entry that was newest at `at`.
#[must_use]
pub fn as_of(versions: &[EntryBody], at: Seq) -> Option<&EntryBody> {
    versions.iter().rev().find(|version| newest_of(version) <= at)
}

/// The last event that the version shows: its change, or the last message of the thread under it.
#[must_use]
pub fn newest_of(version: &EntryBody) -> Seq {
    version.replies.map_or(version.changed, |replies| replies.last.max(version.changed))
}

/// What is shown of an entry that changed after the reader had left.
fn withheld(newest: &EntryBody, left: Seq) -> EntryBody {
    let untouched = newest.edited.is_none() && !newest.deleted;
    // Field by field: a new one is shown only if somebody has decided that.
    EntryBody {
        seq: newest.seq,
        id: newest.id,
        author: newest.author,
        time: newest.time,
        kind: newest.kind.clone(),
        ordinal: newest.ordinal,
        changed: newest.seq,
        body: newest.body.clone().filter(|_| untouched || newest.kind != "message"),
        reply_to: newest.reply_to,
        quote: newest.quote,
        mentions: newest.mentions.clone().filter(|_| untouched),
        content: newest.content.clone().filter(|_| untouched),
        thread: newest.thread,
        thread_ordinal: newest.thread_ordinal,
        also_in_conversation: newest.also_in_conversation,
        users: newest.users.clone(),
        edited: None,
        deleted: false,
        deleted_by: None,
        reactions: Vec::new(),
        replies: newest.replies.filter(|replies| replies.last <= left),
        withheld: true,
    }
}

fn entry(event: &Event, appended: Appended, ordinal: u64, content: &Content) -> EntryBody {
    let (reply, thread) = match content {
        Content::Message { reply_to, thread, .. } => (*reply_to, *thread),
        _ => (None, None),
    };
    let (kind, body, users) = match content {
        Content::Message { .. } => ("message", None, Vec::new()),
        Content::Created => ("created", None, Vec::new()),
        Content::Joined(users) => ("joined", None, users.clone()),
        Content::Left(user) => ("left", None, vec![*user]),
        Content::Title(title) => ("title", Some(title.as_str().into()), Vec::new()),
    };
    let mut entry = EntryBody {
        seq: appended.seq,
        id: event.id,
        author: event.author,
        time: appended.append_time_ms,
        kind: kind.to_owned(),
        ordinal,
        changed: appended.seq,
        body,
        reply_to: reply.map(|reply| reply.to),
        quote: reply.and_then(|reply| reply.quote).map(|quote| QuoteBody { from: quote.from, to: quote.to }),
        mentions: None,
        content: None,
        thread: thread.map(|thread| thread.root),
        thread_ordinal: thread.map(|thread| thread.ordinal),
        also_in_conversation: thread.is_some_and(|thread| thread.also_in_conversation),
        users,
        edited: None,
        deleted: false,
        deleted_by: None,
        reactions: Vec::new(),
        replies: None,
        withheld: false,
    };
    if let Content::Message { body, .. } = content {
        say(&mut entry, body);
    }
    entry
}

/// What a message says from now on.
fn say(entry: &mut EntryBody, MessageBody { text, mentions, custom }: &MessageBody) {
    let somebody = mentions.all || !mentions.users().is_empty();
    entry.body = Some(text.clone());
    entry.mentions = somebody.then(|| MentionsBody { users: mentions.users().to_vec(), all: mentions.all });
    entry.content = custom.clone().map(|custom| ContentBody { kind: custom.kind, data: custom.data });
}

fn mentions(entry: &EntryBody, user: UserId) -> bool {
    entry.mentions.as_ref().is_some_and(|mentions| mentions.all || mentions.users.contains(&user))
}

/// Written out here, independently of the reducer: what counts in the conversation.
fn in_main_view(content: &Content) -> bool {
    matches!(content, Content::Message { thread, .. } if thread.is_none_or(|thread| thread.also_in_conversation))
}

/// Whether the entry is a message of the main view.
pub(super) fn counts(entry: &EntryBody) -> bool {
    entry.kind == "message" && (entry.thread.is_none() || entry.also_in_conversation)
}
