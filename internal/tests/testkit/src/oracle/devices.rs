//! Compares every device with the log: what it sent, received and shows.

use std::collections::BTreeMap;

use domain::{CommandId, ConversationId, Seq, Stands, UserId};
use protocol::{EntryBody, ErrorCode};

use super::truth::{Frame, Story, Truth, as_of};
use super::verdict::{Fault, Verdict};
use crate::device::{Device, Fate, Memory, Room, Sent};

/// Checks all devices, which must not change any more.
#[must_use]
pub fn check_devices(truth: &Truth, devices: &[Device]) -> Verdict {
    let mut verdict = Verdict::default();
    for device in devices {
        check_device(truth, &device.name, &device.memory(), &mut verdict);
    }
    check_texts(truth, &mut verdict);
    verdict.compared("devices", devices.len());
    verdict
}

/// Test devices write the id of a message into its text, as the second word. A message whose text names another one was
/// logged under an id that no device sent: the log alone does not show that.
pub(super) fn check_texts(truth: &Truth, verdict: &mut Verdict) {
    for (conversation, story) in &truth.stories {
        for entry in story.entries.values().filter_map(|versions| versions.first()) {
            let word = entry.body.as_ref().and_then(|body| body.reveal().split(' ').nth(1));
            if let Some(named) = word.and_then(|word| word.parse::<CommandId>().ok())
                && named != entry.id
            {
                verdict.fault(Fault::Doubled, || format!("{conversation}: the text of {named} under {}", entry.id));
            }
        }
    }
}

/// Checks one device.
pub(super) fn check_device(truth: &Truth, name: &str, memory: &Memory, verdict: &mut Verdict) {
    let check = Check { truth, name, memory };
    check.journal(verdict);
    check.signals(verdict);
    check.sends(verdict);
    check.frames(verdict);
    check.views(verdict);
    check.marks(verdict);
}

impl Truth {
    /// Whether the device has received the last event of every conversation, and all read marks.
    #[must_use]
    pub fn reached(&self, memory: &Memory) -> bool {
        let frames = self.frames.get(&memory.user);
        let heard = frames.into_iter().flatten().all(|(conversation, frames)| {
            // After a reset, frames that only the author gets may lie before the cursor.
            let all = memory.journal.resets.len() <= 1;
            let last = frames.iter().rev().find(|(_, frame)| all || frame.accepted);
            last.is_none_or(|(last, _)| memory.kept.highest.get(conversation).is_some_and(|highest| highest >= last))
        });
        let marks = self.marks.get(&memory.user).into_iter().flatten();
        let marked = marks
            .filter(|(conversation, (seq, _))| self.must_show_mark(memory.user, **conversation, *seq))
            .all(|(conversation, (seq, _))| memory.kept.marks.get(conversation).is_some_and(|known| known >= seq));
        memory.live && heard && marked && memory.kept.rereads.is_empty()
    }
}

struct Check<'a> {
    truth: &'a Truth,
    name: &'a str,
    memory: &'a Memory,
}

impl Check<'_> {
    fn user(&self) -> UserId {
        self.memory.user
    }

    fn expected(&self, conversation: ConversationId) -> Option<&BTreeMap<Seq, Frame>> {
        self.truth.frames.get(&self.user())?.get(&conversation)
    }

    fn journal(&self, verdict: &mut Verdict) {
        let journal = &self.memory.journal;
        // Frames that only the author gets may lie before the cursor of a sync, and come again afterwards.
        let synced_again = journal.resets.len() > 1;
        let author_alone = |conversation: ConversationId, seq: Seq| {
            self.expected(conversation).and_then(|frames| frames.get(&seq)).is_some_and(|frame| !frame.accepted)
        };
        for (conversation, seq) in &journal.wrongly_filtered {
            if synced_again && author_alone(*conversation, *seq) {
                continue;
            }
            verdict.fault(Fault::WronglyFiltered, || format!("{}: {conversation} at {seq:?}", self.name));
        }
        for contradiction in &journal.contradictions {
            let fault = if contradiction.what.contains("now at") { Fault::Doubled } else { Fault::Unresolved };
            verdict.fault(fault, || format!("{}: {} {}", self.name, contradiction.id, contradiction.what));
        }
        if let Some(why) = &journal.stopped {
            verdict.fault(Fault::Unresolved, || format!("{} gave up: {why}", self.name));
        }
    }

    /// Signals may be lost. Those that come must have been asked for, and be about another user in a conversation
    /// that both are or were in.
    fn signals(&self, verdict: &mut Verdict) {
        let journal = &self.memory.journal;
        if journal.wrong_signals > 0 {
            verdict.fault(Fault::Foreign, || {
                format!("{}: {} signals unasked for, or of itself", self.name, journal.wrong_signals)
            });
        }
        for typing in &journal.typing {
            let story = self.truth.stories.get(&typing.conversation);
            let ever = |user| story.is_some_and(|story| story.spans.contains_key(&user));
            if !ever(self.user()) || !ever(typing.user) {
                let (user, conversation) = (typing.user, typing.conversation);
                verdict.fault(Fault::Foreign, || {
                    format!("{}: hears that {user} is typing in {conversation}, which is no affair of both", self.name)
                });
            }
        }
        verdict.compared("signals", journal.typing.len());
    }

    fn sends(&self, verdict: &mut Verdict) {
        let nothing = Story::default();
        for (id, sent) in &self.memory.sends {
            let story = self.truth.stories.get(&sent.conversation).unwrap_or(&nothing);
            let copies = story.copies.get(id).map(Vec::as_slice).unwrap_or_default();
            let logged = copies.iter().filter(|(_, author)| *author == self.user()).count();
            if logged < sent.acks as usize {
                verdict.fault(Fault::Lost, || {
                    format!(
                        "{}: {} copies of {id} acknowledged, {logged} in {}",
                        self.name, sent.acks, sent.conversation
                    )
                });
            }
            if let Some(wrong) = told_wrong(story, *id, self.user(), sent) {
                let fault = if wrong == LOST { Fault::Lost } else { Fault::Unresolved };
                verdict.fault(fault, || format!("{}: {id} in {}: {wrong}: {sent:?}", self.name, sent.conversation));
            }
        }
        verdict.compared("commands", self.memory.sends.len());
    }

    fn frames(&self, verdict: &mut Verdict) {
        for heard in &self.memory.journal.heard {
            let expected = self.expected(heard.conversation).and_then(|frames| frames.get(&heard.seq));
            if expected.is_none_or(|frame| frame.digest != heard.digest) {
                let why = if expected.is_none() { "not for this user" } else { "says something else than the log" };
                verdict.fault(Fault::Foreign, || {
                    format!("{}: {} at {:?}: {why}", self.name, heard.conversation, heard.seq)
                });
            }
        }
        verdict.compared("frames", self.memory.journal.heard.len());
        let kept = &self.memory.kept;
        let synced_again = self.memory.journal.resets.len() > 1;
        for (conversation, frames) in self.truth.frames.get(&self.user()).into_iter().flatten() {
            let (seen, covered) = (kept.seen.get(conversation), kept.covered.get(conversation));
            for (seq, frame) in frames {
                let had = seen.is_some_and(|seen| seen.contains(seq)) || covered.is_some_and(|head| seq <= head);
                // Frames that only the author gets may lie before the cursor of a sync: the device asks for the
                // outcome instead.
                if !had && (frame.accepted || !synced_again) {
                    verdict.fault(Fault::Lost, || format!("{}: {conversation} at {seq:?} never came", self.name));
                }
            }
        }
    }

    fn views(&self, verdict: &mut Verdict) {
        let nothing = Room::default();
        for (conversation, story) in self.truth.conversations_of(self.user()) {
            let room = self.memory.kept.rooms.get(&conversation).unwrap_or(&nothing);
            let mut differs = |what: String| {
                verdict.fault(Fault::ViewDiffers, || format!("{}: {conversation} {what}", self.name));
            };
            if room.is_member() != story.is_member(self.user()) {
                differs(format!("thinks that it is a member: {}", room.is_member()));
            }
            let left = story.left(self.user());
            let expected: BTreeMap<Seq, &Vec<EntryBody>> = story.visible(self.user()).collect();
            for (seq, versions) in &expected {
                let shown = room.entries.get(seq);
                let right = match left {
                    None => shown == versions.last(),
                    Some(left) => shown.is_some_and(|shown| shown.withheld || Some(shown) == as_of(versions, left)),
                };
                if !right {
                    differs(format!("at {seq:?} shows {shown:?}, not {:?}", versions.last()));
                }
            }
            for (seq, shown) in room.entries.iter().filter(|(seq, _)| !expected.contains_key(seq)) {
                differs(format!("at {seq:?} shows what is not the user's to see: {shown:?}"));
            }
            if !ids_are_single(room) {
                verdict.fault(Fault::Doubled, || format!("{}: {conversation} shows a command twice", self.name));
            }
            verdict.compared("entries on devices", room.entries.len());
        }
    }

    fn marks(&self, verdict: &mut Verdict) {
        let expected = self.truth.marks.get(&self.user());
        for (conversation, acked) in &self.memory.journal.marks_acked {
            let logged = expected.and_then(|marks| marks.get(conversation)).map(|(seq, _)| *seq);
            if logged.is_none_or(|logged| logged < *acked) {
                verdict.fault(Fault::MarkDiffers, || {
                    format!("{}: {conversation} acknowledged {acked:?}, logged {logged:?}", self.name)
                });
            }
        }
        for (conversation, (seq, _)) in expected.into_iter().flatten() {
            let shown = self.memory.kept.marks.get(conversation);
            let must = self.truth.must_show_mark(self.user(), *conversation, *seq);
            if shown != Some(seq) && (must || shown > Some(seq)) {
                verdict.fault(Fault::MarkDiffers, || {
                    format!("{}: {conversation} shows {shown:?}, logged {seq:?}", self.name)
                });
            }
        }
    }
}

const LOST: &str = "it was told to stand, and does not";

/// What is wrong with a device's belief about one of its commands; `None` when it is right.
fn told_wrong(story: &Story, id: CommandId, user: UserId, sent: &Sent) -> Option<&'static str> {
    let row = story.ids.get(&id).filter(|row| row.author == user);
    match (sent.fate, row) {
        (Fate::Open, _) => Some("its fate is open"),
        (Fate::Stands(_), None) => Some(LOST),
        (Fate::Stands(seq), Some(row)) if row.seq == seq && row.stands != Stands::Withdrawal => None,
        (Fate::Stands(_), Some(_)) => Some("something else stands under it"),
        (Fate::Withdrawn, Some(row)) if row.stands == Stands::Withdrawal => None,
        (Fate::Withdrawn, _) => Some("it was told to be withdrawn, and is not"),
        (Fate::Refused(ErrorCode::Conflict), _) => None,
        (Fate::Refused(_) | Fate::NotTaken(_), None) => None,
        (Fate::Refused(_) | Fate::NotTaken(_), Some(_)) => Some("it was told not to stand, and does"),
    }
}

/// Whether no id is shown twice. For conversations that the user has left, this is all that is checked; for others
/// the comparison with the log finds it, too.
fn ids_are_single(room: &Room) -> bool {
    let mut ids: Vec<CommandId> = room.entries.values().map(|entry| entry.id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ids.len() == count
}
