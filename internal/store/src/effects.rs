//! Turns the reducer's effects into cell writes, in one way for every engine.
//!
//! The audit has its own version, written by hand from the design, so that a mistake here shows up as a
//! difference.

use domain::kinds::Create;
use domain::{
    Action, Appended, Change, Content, ConversationKind, Decision, Effects, Event, Extras, InThread, ReactionChange,
    Role, Seq, UserId,
};

use crate::{BUCKET_SLOTS, CellWrites, ExtrasRow, ReactionRow, Row, ThreadRow, bucket_of};

/// The cells of an accepted event, or of a refusal that is stored; none for other events. Writing them again, in
/// any order, changes nothing; a store writes them by their phases.
#[must_use]
pub fn rows_of(event: &Event, appended: Appended, effects: &Effects) -> Vec<CellWrites> {
    let mut rows = Rows { event, appended, effects, found: Vec::with_capacity(effects.changes.len() + 4) };
    if let (Decision::Refused(reason), true) = (effects.decision, effects.kept) {
        rows.put(Row::Refusal { author: event.author, id: event.id, reason, seq: appended.seq });
    }
    if !effects.changes.is_empty() {
        effects.changes.iter().for_each(|change| rows.change(change));
        rows.head();
    }
    rows.found
}

/// Collects the rows of one event.
struct Rows<'a> {
    event: &'a Event,
    appended: Appended,
    effects: &'a Effects,
    found: Vec<CellWrites>,
}

impl Rows<'_> {
    fn put(&mut self, row: Row) {
        self.found.push(row.write(self.event.conversation, self.appended.seq));
    }

    fn change(&mut self, change: &Change) {
        let (event, Appended { seq, append_time_ms: time_ms }) = (self.event, self.appended);
        match change {
            Change::Timeline { slot, ordinal, content } => self.entry(*slot, *ordinal, content),
            Change::Body { seq: message, slot, body, kept, whole, .. } => {
                let (message, slot, body, changed) = (*message, *slot, body.clone(), seq);
                if *kept {
                    let version = body.clone();
                    self.put(Row::Extras(ExtrasRow::Version { message, changed, time_ms, body: version }));
                    self.put(Row::Extras(ExtrasRow::KeptEdit { message, slot, changed, time_ms, body }));
                } else {
                    self.put(Row::Edit { seq: message, slot, body, whole: *whole, changed, time_ms });
                }
            }
            Change::Extras { seq: message, slot, author, now, added, removed, all, edit } => {
                self.extras((*message, *slot), (now, edit.is_some()), [(added, true), (removed, false)]);
                if let Some(stands) = *all {
                    let (message, slot, author) = (*message, *slot, *author);
                    self.put(Row::Extras(ExtrasRow::All { message, slot, author, stands }));
                }
            }
            Change::Thread { of: InThread { root_seq: root, root_slot, .. }, slot, ordinal } => {
                let (root, root_slot, slot, ordinal) = (*root, *root_slot, *slot, *ordinal);
                self.put(Row::Thread(ThreadRow::Message { root, seq, slot, ordinal }));
                self.put(Row::Thread(ThreadRow::Last { root, root_slot, ordinal, time_ms, seq }));
            }
            Change::Deleted { id, seq: message, slot, by, thread, whole, edits } => {
                let (message, slot) = (*message, *slot);
                self.put(Row::Deletion {
                    seq: message,
                    slot,
                    changed: seq,
                    by: *by,
                    whole: *whole,
                    kept: !edits.is_empty(),
                });
                for changed in edits.iter().copied() {
                    self.put(Row::Extras(ExtrasRow::VersionGone { message, changed }));
                }
                self.put(Row::IdDeleted { id: *id, deleted: seq });
                // Version 2 changed what counts as unread; rows of version 1 must stay the same in a replay.
                if event.rules >= 2 && thread.is_none_or(|thread| thread.also_in_conversation) {
                    self.put(Row::Gone { message, slot, deleted: seq });
                }
                if let Some(InThread { root_seq: root, .. }) = *thread {
                    self.put(Row::Thread(ThreadRow::Gone { root, seq: message, deleted: seq }));
                }
            }
            Change::Reaction { seq: message, slot, emoji, change, .. } => {
                self.reaction((*message, *slot), emoji.clone(), *change);
            }
            Change::Member { user, role } => self.member(*user, *role),
            Change::Pins(pins) => self.put(Row::Pins { seq, pins: pins.clone() }),
            Change::Settings(settings) => self.put(Row::Settings { seq, settings: settings.clone() }),
            Change::Id { id, row } => self.put(Row::Id { id: *id, row: *row }),
        }
    }

    /// What a message has besides its text, and the users who are mentioned by it or are not any more.
    fn extras(
        &mut self,
        (message, slot): (Seq, u64),
        (now, edit): (&Extras, bool),
        mentioned: [(&Vec<UserId>, bool); 2],
    ) {
        let (changed, extras) = (self.appended.seq, now.clone());
        self.put(Row::Extras(ExtrasRow::Extras { message, slot, changed, extras, edit }));
        for (users, stands) in mentioned {
            for user in users.iter().copied() {
                self.put(Row::Extras(ExtrasRow::User { user, message, slot, stands }));
            }
        }
    }

    fn reaction(&mut self, (message, slot): (Seq, u64), emoji: String, change: ReactionChange) {
        let (user, changed) = (self.event.author, self.appended.seq);
        let stands = match change {
            ReactionChange::Only => {
                return self.put(Row::Reaction(ReactionRow::Only { message, slot, user, emoji, changed }));
            }
            ReactionChange::Removed => false,
            ReactionChange::Added { is_new } => {
                if is_new {
                    self.put(Row::Reaction(ReactionRow::NewEmoji {
                        message,
                        slot,
                        emoji: emoji.clone(),
                        first: changed,
                    }));
                }
                true
            }
        };
        self.put(Row::Reaction(ReactionRow::ByEmoji { message, slot, user, emoji, stands, changed }));
    }

    fn entry(&mut self, slot: u64, ordinal: u64, content: &Content) {
        let Event { id, author, rules, .. } = *self.event;
        let Appended { seq, append_time_ms: time_ms } = self.appended;
        if slot.is_multiple_of(BUCKET_SLOTS) {
            self.put(Row::Bucket { bucket: bucket_of(slot), start: seq });
        }
        self.put(Row::Entry { seq, slot, ordinal, id, author, time_ms, content: content.clone() });
        if content.is_main_message() {
            self.put(Row::LastMessage { seq, slot });
            if rules >= 2 {
                self.put(Row::Sent { user: author, seq, ordinal });
            }
        }
    }

    fn member(&mut self, user: UserId, role: Option<Role>) {
        let (seq, author) = (self.appended.seq, self.event.author);
        self.put(Row::Member { user, seq, role });
        let joins = self.event.action.takes_in();
        self.put(match role {
            Some(role) if joins => Row::Joined { user, role, seq, ordinal: self.effects.ordinal },
            role => Row::UserRole { user, role, seq },
        });
        if joins && self.invites() && user != author {
            self.put(Row::Invited { user, inviter: author, seq });
        }
    }

    /// Whether the new members may decline. Under version 1 no invitation is written, and that must stay so in a
    /// replay.
    fn invites(&self) -> bool {
        let direct = matches!(self.event.action, Action::Create(Create { kind: ConversationKind::Direct, .. }));
        !direct && self.event.rules >= 2
    }

    fn head(&mut self) {
        let (Appended { seq, append_time_ms: time_ms }, Effects { slot, ordinal, .. }) = (self.appended, self.effects);
        if self.effects.raises_head(self.event) {
            self.put(Row::Head { seq, time_ms, slot: *slot, ordinal: *ordinal });
        }
        self.put(Row::NewestStamp { stamp_ms: self.event.id.stamp_ms() });
    }
}
