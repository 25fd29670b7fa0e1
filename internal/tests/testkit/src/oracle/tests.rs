//! The oracle's own tests: a correct world passes, and each kind of damage is reported as what it is.

use domain::{Appended, CommandId, ConversationId, Cursor, Decision, Event, Fingerprint, Seq, UserId};
use eventlog::{DecodedRecord, Meaning};
use events::{Delivery, ReadMark};
use protocol::{EntryBody, FeedFrame, Received};
use tokio::time::Instant;
use workload::{Random, Reference, Stories, StoryConfig};

use super::devices::{check_device, check_texts};
use super::{Fault, Logged, Truth, Verdict, check_deliveries};
use crate::device::{Fate, Memory, Route, Sent};

const NOW_MS: i64 = 1_700_000_000_000;

/// A log, and for each user a device that has received all of it.
struct Spoilable {
    logged: Logged,
    memories: Vec<Memory>,
}

/// The log and the memories of devices that received everything and sent their users' commands.
fn world() -> Spoilable {
    let config = StoryConfig { skewed: false, ..StoryConfig::default() };
    let (mut stories, mut reference) = (Stories::new(5, config, NOW_MS), Reference::default());
    let mut memories: Vec<Memory> = stories.users().iter().map(|user| Memory::new(*user)).collect();
    let (mut messages, mut deliveries) = (Vec::new(), Vec::new());
    for offset in 1..400 {
        let event = stories.next(NOW_MS, &reference);
        let appended = Appended { seq: Seq::new(0, offset).unwrap(), append_time_ms: NOW_MS };
        let effects = reference.judge(&event, appended);
        let frame = FeedFrame::of(&event, appended, &effects);
        let cursor = Cursor { generation: 0, partition: 0, next: offset + 1, fingerprint: Fingerprint(offset) };
        let (blind, seeing): (Vec<UserId>, Vec<UserId>) =
            effects.recipients.iter().partition(|user| effects.blind.contains(user));
        let halves = [(seeing, frame.clone()), (blind, frame.withheld())];
        for (recipients, frame) in halves.into_iter().filter(|(recipients, _)| !recipients.is_empty()) {
            let received = Received { cursor, frame };
            for memory in memories.iter_mut().filter(|memory| recipients.contains(&memory.user)) {
                memory.receive(&received.clone().into(), Instant::now());
                memory.kept.rereads.clear();
                memory.live = true;
            }
            let text = serde_json::to_string(&received.frame).unwrap();
            let event_key = Some((event.conversation, appended.seq));
            deliveries.push((offset, Delivery { recipients, event_key, frame: text }));
        }
        let conversation = Some(event.conversation);
        let meaning = Meaning::Event(Box::new(event));
        messages.push(DecodedRecord { appended, fingerprint: Fingerprint(offset), conversation, meaning, trace: None });
    }
    let logged = Logged { messages: vec![messages], deliveries: vec![deliveries], ..Logged::default() };
    let mut world = Spoilable { logged, memories };
    world.reread();
    world
}

impl Spoilable {
    /// Makes devices read the history again where a real one would: after the user was added again, or a frame
    /// withheld its content.
    fn reread(&mut self) {
        let truth = self.truth();
        for memory in &mut self.memories {
            let user = memory.user;
            for (conversation, story) in truth.conversations_of(user) {
                let rows = story.visible(user).filter_map(|(_, versions)| story.shown(user, versions)).collect();
                memory.merge(conversation, rows);
            }
        }
    }

    fn truth(&self) -> Truth {
        Truth::of(&self.logged)
    }

    fn verdict(&self) -> Verdict {
        let truth = self.truth();
        let mut verdict = check_deliveries(&truth, &self.logged);
        for memory in &self.memories {
            check_device(&truth, "device", memory, &mut verdict);
        }
        verdict
    }

    /// A member who can read a message, its conversation, and that message.
    fn somewhere(&self) -> (usize, ConversationId, EntryBody) {
        let truth = self.truth();
        let found = self.memories.iter().enumerate().find_map(|(number, memory)| {
            let (id, story) = truth.conversations_of(memory.user).find(|(_, story)| story.is_member(memory.user))?;
            let mut entries = story.visible(memory.user).filter_map(|(_, versions)| versions.last());
            Some((number, id, entries.find(|entry| entry.kind == "message")?.clone()))
        });
        found.expect("a member who can read a message")
    }

    fn event(&self, wanted: impl Fn(&Event, &Decision) -> bool) -> Event {
        let mut reference = Reference::default();
        let found = self.logged.messages.iter().flatten().find_map(|message| match &message.meaning {
            Meaning::Event(event) => {
                let effects = reference.judge(event, message.appended);
                wanted(event, &effects.decision).then(|| (**event).clone())
            }
            _ => None,
        });
        found.expect("an event of that kind")
    }

    /// Makes the author's device believe that it sent this event's command, with that result.
    fn believe(&mut self, event: &Event, id: CommandId, fate: Fate, acks: u32) {
        let command = protocol::CommandFrame::new(id, event.conversation, protocol::CommandKind::Leave {});
        let mut sent = Sent::new(command, event.conversation, Route::Socket, Instant::now());
        (sent.fate, sent.acks) = (fate, acks);
        self.of(event.author).sends.insert(id, sent);
    }

    fn of(&mut self, user: UserId) -> &mut Memory {
        self.memories.iter_mut().find(|memory| memory.user == user).expect("a user of the world")
    }
}

#[tokio::test]
async fn a_true_world_passes() {
    let verdict = world().verdict();
    assert!(verdict.is_zero(), "{verdict}");
}

#[tokio::test]
async fn a_view_that_differs_is_noticed() {
    let mut world = world();
    let (number, conversation, entry) = world.somewhere();
    let entries = &mut world.memories[number].kept.rooms.get_mut(&conversation).unwrap().entries;
    entries.get_mut(&entry.seq).unwrap().body = Some("something else".into());
    assert_eq!(world.verdict().count(Fault::ViewDiffers), 1);
}

#[tokio::test]
async fn an_entry_that_is_missing_or_shown_twice_is_noticed() {
    let mut spoiled = world();
    let (number, conversation, entry) = spoiled.somewhere();
    spoiled.memories[number].kept.rooms.get_mut(&conversation).unwrap().entries.remove(&entry.seq);
    assert_eq!(spoiled.verdict().count(Fault::ViewDiffers), 1);

    let mut spoiled = world();
    let beyond = Seq::new(0, 9_000).unwrap();
    let entries = &mut spoiled.memories[number].kept.rooms.get_mut(&conversation).unwrap().entries;
    entries.insert(beyond, EntryBody { seq: beyond, ..entry });
    assert_eq!(spoiled.verdict().count(Fault::Doubled), 1);
}

#[tokio::test]
async fn a_text_under_another_id_is_noticed() {
    let world = world();
    let (_, conversation, entry) = world.somewhere();
    let doubled = |named: CommandId| {
        let (mut truth, mut verdict) = (world.truth(), Verdict::default());
        let entries = &mut truth.stories.get_mut(&conversation).unwrap().entries;
        entries.get_mut(&entry.seq).unwrap()[0].body = Some(format!("message {named} and more").into());
        check_texts(&truth, &mut verdict);
        verdict.count(Fault::Doubled)
    };
    assert_eq!(doubled(entry.id), 0);
    assert_eq!(doubled(CommandId::first_at(NOW_MS)), 1);
}

#[tokio::test]
async fn a_frame_that_never_came_or_was_wrongly_filtered_is_noticed() {
    let mut spoiled = world();
    let (number, conversation, entry) = spoiled.somewhere();
    spoiled.memories[number].kept.seen.get_mut(&conversation).unwrap().remove(&entry.seq);
    assert_eq!(spoiled.verdict().count(Fault::Lost), 1);

    // The frame of an earlier event arrives after that of a later one.
    let mut memory = Memory::new(spoiled.memories[number].user);
    let frame = |seq| FeedFrame::Settled {
        conversation,
        seq: Seq::new(0, seq).unwrap(),
        id: entry.id,
        first_seq: entry.seq,
        stands: protocol::StandsName::Message,
    };
    for seq in [7, 6, 7] {
        let cursor = Cursor { generation: 0, partition: 0, next: 9, fingerprint: Fingerprint(1) };
        memory.receive(&Received { cursor, frame: frame(seq) }.into(), Instant::now());
    }
    assert_eq!(memory.journal.wrongly_filtered, [(conversation, Seq::new(0, 6).unwrap())]);
}

#[tokio::test]
async fn a_frame_for_somebody_else_or_with_another_text_is_noticed() {
    let mut world = world();
    let (number, ..) = world.somewhere();
    world.memories[number].journal.heard[0].digest ^= 1;
    assert_eq!(world.verdict().count(Fault::Foreign), 1);
}

#[tokio::test]
async fn an_acknowledged_command_that_is_not_logged_is_noticed() {
    let mut world = world();
    let event = world.event(|_, decision| *decision == Decision::Accepted);
    let never = CommandId::first_at(NOW_MS + 5);
    world.believe(&event, never, Fate::NotTaken(protocol::ErrorCode::NotMember), 1);
    assert_eq!(world.verdict().count(Fault::Lost), 1);
}

#[tokio::test]
async fn a_command_told_to_stand_that_does_not_is_noticed_and_so_is_the_reverse() {
    let mut spoiled = world();
    let refused = spoiled.event(|_, decision| matches!(decision, Decision::Refused(domain::Refusal::NotMember)));
    spoiled.believe(&refused, CommandId::first_at(NOW_MS + 6), Fate::Stands(Seq::new(0, 3).unwrap()), 0);
    assert_eq!(spoiled.verdict().count(Fault::Lost), 1);

    let mut spoiled = world();
    let accepted = spoiled.event(|_, decision| *decision == Decision::Accepted);
    spoiled.believe(&accepted, accepted.id, Fate::Refused(protocol::ErrorCode::NotMember), 0);
    assert_eq!(spoiled.verdict().count(Fault::Unresolved), 1);

    let mut spoiled = world();
    spoiled.believe(&accepted, accepted.id, Fate::Open, 0);
    assert_eq!(spoiled.verdict().count(Fault::Unresolved), 1);
}

#[tokio::test]
async fn deliveries_out_of_order_missing_or_to_others_are_noticed() {
    let random = &mut Random::new(3);
    let mut spoiled = world();
    let at = usize::try_from(random.below(spoiled.logged.deliveries[0].len() as u64)).unwrap();
    spoiled.logged.deliveries[0].remove(at);
    assert!(spoiled.verdict().count(Fault::Lost) > 0);

    let mut spoiled = world();
    let stranger = UserId::try_from(uuid::Uuid::from_u128(1)).unwrap();
    spoiled.logged.deliveries[0][at].1.recipients.push(stranger);
    assert_eq!(spoiled.verdict().count(Fault::Foreign), 1);

    let mut spoiled = world();
    spoiled.logged.deliveries[0].reverse();
    assert!(spoiled.verdict().count(Fault::OutOfOrder) > 0);

    // Repeated deliveries, as after a crash of the fan-out, are no fault.
    let mut spoiled = world();
    let again = spoiled.logged.deliveries[0].clone();
    spoiled.logged.deliveries[0].extend(again);
    assert!(spoiled.verdict().is_zero());
}

/// Simulator seeds 206507 and 208292: another producer logged marks before the conversation was there.
#[tokio::test]
async fn a_logged_mark_must_be_shown_where_the_user_can_see_its_entry() {
    let mut world = world();
    let (number, conversation, entry) = world.somewhere();
    let user = world.memories[number].user;
    world.logged.marks.push(ReadMark { user, conversation, seq: entry.seq, ordinal: entry.ordinal });
    assert_eq!(world.verdict().count(Fault::MarkDiffers), 1);
    world.memories[number].kept.marks.insert(conversation, entry.seq);
    assert_eq!(world.verdict().count(Fault::MarkDiffers), 0);

    let nowhere = ConversationId::try_from(uuid::Uuid::from_u128(1)).unwrap();
    for conversation in [conversation, nowhere] {
        world.logged.marks.push(ReadMark { user, conversation, seq: Seq::new(0, 9_999).unwrap(), ordinal: 1 });
        assert_eq!(world.verdict().count(Fault::MarkDiffers), 0, "no sync lists it");
    }
    world.memories[number].kept.marks.insert(conversation, Seq::new(0, 10_000).unwrap());
    assert_eq!(world.verdict().count(Fault::MarkDiffers), 1, "nobody has logged that");
}

#[tokio::test]
async fn an_acknowledged_mark_that_is_not_logged_is_noticed() {
    let mut world = world();
    let (number, conversation, entry) = world.somewhere();
    world.memories[number].journal.marks_acked.insert(conversation, entry.seq);
    assert_eq!(world.verdict().count(Fault::MarkDiffers), 1);
}
