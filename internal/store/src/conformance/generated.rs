//! Random conversations judged by the reducer: the rows to write, and what reading them must return.

use std::collections::{BTreeMap, BTreeSet};

use domain::kinds::{
    AddMembers, AddReaction, ChangeRole, ChangeTitle, Create, DeleteMessage, EditMessage, IntoThread, Leave,
    PinMessage, RemoveMember, RemoveReaction, SendMessage, UnpinMessage, Withdraw,
};
use domain::{
    Action, Appended, Change, CommandId, Content, ConversationId, ConversationKind, ConversationState, CustomContent,
    Decision, Effects, Event, Extras, Facts, IdRow, InThread, Kind, Mentions, MessageBody, Quote, RULES_NEWEST,
    ReactionChange, Refusal, Reply, Role, Seq, TargetCache, UserId, apply, past_of,
};

use crate::conformance::fixture::{Fixture, NEW_YEAR_MS, at};
use crate::{
    BUCKET_SLOTS, CellWrites, Entry, Head, LastMessage, Mark, MessageReaction, MessageVersion, Row, ThreadMessage,
    ThreadSummary, UserConversation, bucket_of, rows_of,
};

/// An event and its result.
pub(super) struct Step {
    pub(super) seq: Seq,
    pub(super) append_time_ms: i64,
    pub(super) writes: Vec<CellWrites>,
    /// The state after the event.
    pub(super) state: ConversationState,
}

/// One conversation's history.
pub(super) struct GeneratedConversation {
    pub(super) conversation: ConversationId,
    pub(super) steps: Vec<Step>,
    pub(super) ids: BTreeMap<CommandId, IdRow>,
    pub(super) entries: BTreeMap<Seq, Entry>,
    pub(super) head: Option<Head>,
    pub(super) users: BTreeMap<UserId, UserConversation>,
    pub(super) versions: BTreeMap<UserId, Vec<(Seq, Option<Role>)>>,
    /// Each user's last message.
    pub(super) sent: BTreeMap<UserId, Mark>,
    /// The user who took in each member who was not there from the start.
    pub(super) inviters: BTreeMap<UserId, UserId>,
    /// Deleted messages, with the seqs of their deletions.
    pub(super) gone: BTreeMap<Seq, Seq>,
    /// The messages of each thread, by the root's seq.
    pub(super) threads: BTreeMap<Seq, Vec<ThreadMessage>>,
    /// The messages that each user is mentioned by.
    pub(super) mentions: BTreeMap<UserId, BTreeSet<Seq>>,
    /// The messages that mention every member.
    pub(super) mentions_of_all: BTreeSet<Seq>,
    /// What messages had besides their text, by message and seq of the event, and whether that was an edit.
    pub(super) extras: BTreeMap<(Seq, Seq), (Extras, bool)>,
    /// What messages have said since their edits.
    pub(super) edits: BTreeMap<Seq, Vec<MessageVersion>>,
    /// The latest stored refusals.
    pub(super) refusals: BTreeMap<(UserId, CommandId), (Refusal, Seq)>,
    /// The kinds of its accepted events.
    pub(super) kinds: BTreeSet<Kind>,
    targets: TargetCache,
    state: ConversationState,
    events: Vec<Event>,
}

impl GeneratedConversation {
    /// About `count` events: some are refused, some retried; clocks are skewed, and broker time sometimes runs
    /// backwards.
    pub(super) fn new(fixture: &Fixture, count: usize) -> Self {
        let people: Vec<UserId> = (0..6).map(|_| fixture.user()).collect();
        let creation = fixture.id();
        let conversation = ConversationId::group(people[0], creation);
        let mut generated = Self {
            conversation,
            steps: Vec::new(),
            ids: BTreeMap::new(),
            entries: BTreeMap::new(),
            head: None,
            users: BTreeMap::new(),
            versions: BTreeMap::new(),
            sent: BTreeMap::new(),
            inviters: BTreeMap::new(),
            gone: BTreeMap::new(),
            threads: BTreeMap::new(),
            mentions: BTreeMap::new(),
            mentions_of_all: BTreeSet::new(),
            extras: BTreeMap::new(),
            edits: BTreeMap::new(),
            refusals: BTreeMap::new(),
            kinds: BTreeSet::new(),
            targets: TargetCache::default(),
            state: ConversationState::default(),
            events: Vec::new(),
        };
        // Begin near the end of a bucket, so that the history crosses into the next one.
        generated.state.slot = fixture.one_of(&[0, BUCKET_SLOTS - 20, 3 * BUCKET_SLOTS - 1]) + fixture.entropy.below(2);
        let (mut seq, mut time_ms) = (at(1 + fixture.entropy.below(9)), NEW_YEAR_MS);
        for number in 0..count {
            let event = match number {
                0 => generated.event(creation, people[0], create(&people[..3])),
                _ => generated.random_event(fixture, &people, time_ms),
            };
            generated.tell(&event, Appended { seq, append_time_ms: time_ms });
            generated.events.push(event);
            seq = at(seq.offset() + 1 + fixture.entropy.below(4));
            time_ms += [0, 1, 500, 40_000, 200_000, 3 * 86_400_000, -90_000][fixture.below(7)];
        }
        generated
    }

    fn event(&self, id: CommandId, author: UserId, action: Action) -> Event {
        let conversation = self.conversation;
        // Services of the last release and of this one, side by side.
        let rules = RULES_NEWEST - u32::from(id.stamp_ms().rem_euclid(3) == 0);
        Event { id, conversation, author, received_ms: 0, rules, key_id: None, looked_up: true, action }
    }

    fn random_event(&self, fixture: &Fixture, people: &[UserId], time_ms: i64) -> Event {
        if fixture.below(8) == 0 {
            return fixture.one_of(&self.events).clone();
        }
        let skew_ms = [0, -1, -2_000, -170_000, -400_000, 59_000, 61_000, -8 * 86_400_000][fixture.below(8)];
        let id = fixture.id_at(time_ms + skew_ms);
        let (author, user) = (*fixture.one_of(people), *fixture.one_of(people));
        let messages: Vec<_> = self.events.iter().filter(|event| is_message(event)).collect();
        let target = messages.get(fixture.below(messages.len().max(1))).copied();
        let (target, owner) = target.map_or((id, author), |event| (event.id, event.author));
        let emoji = ["\u{1F44D}", "\u{2764}", "ok"][fixture.below(3)].to_owned();
        let text = format!("text {}", fixture.entropy.below(1000));
        let role = [Role::Member, Role::Admin, Role::Owner][fixture.below(3)];
        let (author, action) = match fixture.below(31) {
            0..=7 => (
                author,
                Action::SendMessage(SendMessage {
                    body: self.body(fixture, text),
                    reply_to: Some(reply(fixture, target)).filter(|_| fixture.below(3) == 0),
                    thread: None,
                }),
            ),
            24..28 => {
                let thread = Some(IntoThread { root: target, also_in_conversation: fixture.below(3) == 0 });
                (author, Action::SendMessage(SendMessage { body: self.body(fixture, text), reply_to: None, thread }))
            }
            28 | 29 => (people[0], Action::PinMessage(PinMessage { target })),
            30 => {
                // Mostly one that is pinned.
                let pinned = self.state.pins.first().map(|pin| pin.id).filter(|_| fixture.below(4) > 0);
                (people[0], Action::UnpinMessage(UnpinMessage { target: pinned.unwrap_or(target) }))
            }
            8..=10 => (owner, Action::EditMessage(EditMessage { target, body: self.body(fixture, text) })),
            11 | 12 => (owner, Action::DeleteMessage(DeleteMessage { target })),
            13..=15 => (author, Action::AddReaction(AddReaction { target, emoji })),
            16 => (author, Action::RemoveReaction(RemoveReaction { target, emoji: Some(emoji) })),
            17 | 18 => (author, Action::AddMembers(AddMembers { members: vec![user, *fixture.one_of(people)] })),
            19 => (author, Action::RemoveMember(RemoveMember { user })),
            20 => (author, Action::Leave(Leave)),
            21 => (author, Action::ChangeRole(ChangeRole { user, role })),
            22 => (author, Action::ChangeTitle(ChangeTitle { title: text })),
            _ => (author, Action::Withdraw(Withdraw)),
        };
        self.event(id, author, action)
    }

    /// A text, and often more.
    fn body(&self, fixture: &Fixture, text: String) -> MessageBody {
        let members: Vec<UserId> = self.state.members.keys().copied().collect();
        let users = (0..fixture.below(3)).filter(|_| !members.is_empty()).map(|_| *fixture.one_of(&members)).collect();
        let custom = CustomContent { kind: "com.example.poll".into(), data: text.as_str().into() };
        MessageBody {
            mentions: Mentions::new(users, fixture.below(8) == 0),
            custom: Some(custom).filter(|_| fixture.below(5) == 0),
            text: text.into(),
        }
    }

    fn tell(&mut self, event: &Event, appended: Appended) {
        let target = event.action.target().and_then(|id| self.ids.get(&id)).copied();
        let first = self.ids.get(&event.id).copied();
        let versions = || self.versions.get(&event.author).cloned().unwrap_or_default();
        let past = past_of(&self.state, event, first.as_ref(), target.as_ref())
            .is_some_and(|past| past.answer(versions(), appended.seq.before().unwrap()));
        let of_target = self.targets.facts(event, first.as_ref(), target.as_ref()).unwrap_or_default();
        let facts = Facts { first, target, past, of_target };
        let effects = apply(&self.state, event, appended, &facts, RULES_NEWEST).unwrap();
        let writes = self.writes(event, appended, &effects);
        if let (Decision::Refused(reason), true) = (effects.decision, effects.kept) {
            self.refusals.insert((event.author, event.id), (reason, appended.seq));
        }
        if effects.decision == Decision::Accepted {
            self.kinds.insert(event.action.kind());
        }
        for change in &effects.changes {
            self.learn(event, appended, change);
        }
        self.state.absorb(appended.seq, &effects.changes);
        self.targets.absorb(&effects.changes);
        if effects.raises_head(event) {
            let last_message = self.head.and_then(|head| head.last_message);
            self.head = Some(Head {
                seq: appended.seq,
                time_ms: appended.append_time_ms,
                slot: effects.slot,
                ordinal: effects.ordinal,
                last_message: sent(&effects, appended.seq).or(last_message),
            });
        }
        let state = self.state.clone();
        self.steps.push(Step { seq: appended.seq, append_time_ms: appended.append_time_ms, writes, state });
    }

    /// The writes of an event. The conversation begins inside a bucket, so its first entry also writes that
    /// bucket's row.
    fn writes(&self, event: &Event, appended: Appended, effects: &Effects) -> Vec<CellWrites> {
        let mut writes = rows_of(event, appended, effects);
        if self.entries.is_empty() {
            let bucket = Row::Bucket { bucket: bucket_of(self.state.slot), start: appended.seq };
            writes.push(bucket.write(self.conversation, appended.seq));
        }
        writes
    }

    fn learn_thread(&mut self, root: Seq, appended: Appended, (slot, ordinal): (u64, u64)) {
        let (seq, last_ms) = (appended.seq, appended.append_time_ms);
        self.threads.entry(root).or_default().push(ThreadMessage { seq, slot, ordinal, deleted: false });
        self.entries.get_mut(&root).unwrap().replies = Some(ThreadSummary { messages: ordinal, last: seq, last_ms });
    }

    fn learn_edit(&mut self, message: Seq, appended: Appended, body: MessageBody, kept: bool) {
        let seq = appended.seq;
        let entry = self.entries.get_mut(&message).unwrap();
        (entry.changed, entry.edited_ms) = (seq, Some(appended.append_time_ms));
        let before = set_body(&mut entry.content, body.clone());
        if kept {
            entry.original = entry.original.take().or(before);
            let version = MessageVersion { changed: seq, time_ms: appended.append_time_ms, body };
            self.edits.entry(message).or_default().push(version);
        } else {
            entry.original = None;
        }
    }

    fn learn_deletion(
        &mut self,
        (id, message): (CommandId, Seq),
        seq: Seq,
        by: Option<UserId>,
        thread: Option<InThread>,
    ) {
        let entry = self.entries.get_mut(&message).unwrap();
        (entry.changed, entry.deleted, entry.deleted_by) = (seq, true, by);
        entry.reactions.clear();
        entry.original = None;
        set_body(&mut entry.content, MessageBody::default());
        for version in self.edits.entry(message).or_default() {
            version.body = MessageBody::default();
        }
        if entry.content.is_main_message() {
            self.gone.insert(message, seq);
        }
        if let Some(of) = thread {
            let messages = self.threads.get_mut(&of.root_seq).unwrap();
            messages.iter_mut().find(|known| known.seq == message).unwrap().deleted = true;
        }
        self.ids.get_mut(&id).unwrap().deleted = Some(seq);
    }

    fn learn_extras(&mut self, seq: Seq, change: Change) {
        let Change::Extras { seq: message, now, added, removed, all, edit, .. } = change else { return };
        for (user, stands) in added.iter().map(|user| (user, true)).chain(removed.iter().map(|user| (user, false))) {
            let messages = self.mentions.entry(*user).or_default();
            if stands {
                messages.insert(message)
            } else {
                messages.remove(&message)
            };
        }
        match all {
            Some(true) => drop(self.mentions_of_all.insert(message)),
            Some(false) => drop(self.mentions_of_all.remove(&message)),
            None => {}
        }
        self.extras.insert((message, seq), (now, edit.is_some()));
    }

    fn learn(&mut self, event: &Event, appended: Appended, change: &Change) {
        let (conversation, seq) = (self.conversation, appended.seq);
        match change.clone() {
            Change::Timeline { slot, ordinal, content } => {
                if content.is_main_message() {
                    self.sent.insert(event.author, Mark { seq, ordinal });
                }
                let entry = Entry {
                    seq,
                    slot,
                    ordinal,
                    id: event.id,
                    author: event.author,
                    time_ms: appended.append_time_ms,
                    content,
                    changed: seq,
                    edited_ms: None,
                    deleted: false,
                    deleted_by: None,
                    reactions: Vec::new(),
                    replies: None,
                    original: None,
                };
                self.entries.insert(seq, entry);
            }
            Change::Body { seq: message, body, kept, .. } => self.learn_edit(message, appended, body, kept),
            Change::Extras { .. } => self.learn_extras(seq, change.clone()),
            Change::Thread { of, slot, ordinal } => self.learn_thread(of.root_seq, appended, (slot, ordinal)),
            Change::Deleted { id, seq: message, by, thread, .. } => self.learn_deletion((id, message), seq, by, thread),
            Change::Reaction { seq: message, emoji, change, .. } => {
                let entry = self.entries.get_mut(&message).unwrap();
                let reaction = MessageReaction { user: event.author, emoji };
                let only = change == ReactionChange::Only;
                entry.reactions.retain(|known| *known != reaction && !(only && known.user == event.author));
                if change != ReactionChange::Removed && !reaction.emoji.is_empty() {
                    entry.reactions.push(reaction);
                    entry.reactions.sort();
                }
                entry.changed = seq;
            }
            Change::Member { user, role } => {
                self.versions.entry(user).or_default().push((seq, role));
                let joins = !self.state.members.contains_key(&user);
                if joins && user != event.author {
                    self.inviters.insert(user, event.author);
                }
                let (joined, joined_ordinal) = match self.users.get(&user) {
                    Some(row) if !joins => (row.joined, row.joined_ordinal),
                    _ => (seq, self.state.ordinal),
                };
                let row = UserConversation { conversation, role, changed: seq, joined, joined_ordinal };
                self.users.insert(user, row);
            }
            Change::Settings(_) | Change::Pins(_) => {}
            Change::Id { id, row } => drop(self.ids.insert(id, row)),
        }
    }
}

fn create(members: &[UserId]) -> Action {
    Action::Create(Create { kind: ConversationKind::Group, title: Some("talk".into()), members: members.to_vec() })
}

fn is_message(event: &Event) -> bool {
    matches!(event.action, Action::SendMessage(_))
}

/// Returns what it said before.
fn set_body(content: &mut Content, said: MessageBody) -> Option<MessageBody> {
    match content {
        Content::Message { body, .. } => Some(std::mem::replace(body, said)),
        _ => None,
    }
}

fn reply(fixture: &Fixture, to: CommandId) -> Reply {
    let from = u32::try_from(fixture.below(9)).unwrap();
    Reply { to, quote: Some(Quote { from, to: from + 3 }).filter(|_| fixture.below(2) == 0) }
}

fn sent(effects: &Effects, seq: Seq) -> Option<LastMessage> {
    effects.changes.iter().find_map(|change| match change {
        Change::Timeline { slot, content, .. } if content.is_main_message() => Some(LastMessage { seq, slot: *slot }),
        _ => None,
    })
}
