//! The judge as a table: from a state and an event to a decision, without a log, a store or a clock.

use domain::kinds::{Create, SendMessage};
use domain::{
    Action, Appended, CommandId, ConversationId, ConversationKind, ConversationState, Event, Fingerprint, IdCache,
    RULES_NEWEST, RULES_TRIAL, Seq, TargetCache, UserId,
};
use eventlog::{DecodedRecord, Meaning};
use events::Codec;
use events::topics::{DELIVERIES, MESSAGES, spec_of};
use process::Metrics;
use store::{Answers, Hold, Loaded};
use uuid::Uuid;

use crate::FanoutMetrics;
use crate::decision::Decision;
use crate::parked::{PARKED_MAX, QUEUED_MAX};
use crate::records::Records;
use crate::request::{Found, OwnHold, Request, Reread};
use crate::state::State;

fn user(number: u128) -> UserId {
    UserId::try_from(Uuid::from_u128(number)).unwrap()
}

fn seq(offset: u64) -> Seq {
    Seq::new(0, offset).unwrap()
}

/// A group of two, with this number in its id.
fn group(number: u64) -> ConversationId {
    ConversationId::group(user(1), CommandId::first_at(number.cast_signed()))
}

/// The record at an offset of the log, about a conversation.
fn message(offset: u64, conversation: ConversationId, meaning: Meaning) -> DecodedRecord {
    let appended = Appended { seq: seq(offset), append_time_ms: 0 };
    DecodedRecord { appended, fingerprint: Fingerprint(offset), conversation: Some(conversation), meaning, trace: None }
}

fn event(offset: u64, id: u64, conversation: ConversationId, action: Action) -> DecodedRecord {
    let (id, author, rules) = (CommandId::first_at(id.cast_signed()), user(1), RULES_NEWEST);
    let event = Event { id, conversation, author, received_ms: 0, rules, key_id: None, looked_up: true, action };
    message(offset, conversation, Meaning::Event(Box::new(event)))
}

/// The event that creates the group of that number.
fn create(offset: u64, number: u64) -> DecodedRecord {
    let members = vec![user(1), user(2)];
    event(offset, number, group(number), Action::Create(Create { kind: ConversationKind::Group, title: None, members }))
}

fn say(offset: u64, conversation: ConversationId) -> DecodedRecord {
    event(
        offset,
        offset,
        conversation,
        Action::SendMessage(SendMessage { body: "hello".into(), reply_to: None, thread: None }),
    )
}

/// An event of rules that the judge does not know.
fn newer(offset: u64, conversation: ConversationId) -> DecodedRecord {
    let mut newer = say(offset, conversation);
    if let Meaning::Event(event) = &mut newer.meaning {
        event.rules = RULES_TRIAL;
    }
    newer
}

/// An event whose id memory cannot know, because it is older than the cache.
fn old(offset: u64, conversation: ConversationId) -> DecodedRecord {
    let mut old = say(offset, conversation);
    if let Meaning::Event(event) = &mut old.meaning {
        event.id = CommandId::first_at(0);
    }
    old
}

/// The conversation as the store has it before its first event; ids from `t0_ms` on are known.
fn empty(t0_ms: i64) -> Found {
    let (state, ids) = (ConversationState::default(), IdCache::new(t0_ms, []));
    Found::Ready(Box::new(Loaded { state, ids, targets: TargetCache::default() }), Answers::default())
}

/// The judge of a partition; of a follower, for that delivery partition.
fn judge(only: Option<u32>) -> State {
    let metrics = FanoutMetrics::new(&Metrics::new());
    let records = Records { codec: Codec::compiled_in(), partitions: spec_of(DELIVERIES).partitions, only };
    let mut state = State::new(spec_of(MESSAGES).generation, RULES_NEWEST, metrics, records, QUEUED_MAX);
    state.intake = 10;
    state
}

/// The inputs of the judge, and the reports about what was done.
enum Said {
    /// An event is read.
    Read(DecodedRecord),
    /// The answer for the group of that number.
    Back(u64, Found),
    /// The records of its event at that offset are handed over.
    Delivered(u64, u64),
    /// Those groups are held, each done up to that offset; so many were asked for.
    Held(Vec<(u64, u64)>, usize),
}
use Said::{Back, Delivered, Held, Read};

impl Said {
    /// The decision in words; several are joined.
    fn to(self, state: &mut State) -> String {
        match self {
            Read(message) => match state.take_in(&message).unwrap() {
                None => "no room".to_owned(),
                Some(decision) => {
                    state.passed(&message);
                    words(&decision)
                }
            },
            Back(number, found) => words(&state.go_on(group(number), found).unwrap()),
            Delivered(number, offset) => words(&state.delivered(group(number), seq(offset)).unwrap()),
            Held(held, limit) => {
                let hold = |done: u64| Hold { skipped_to: Some(seq(done + 1)), done_through: Some(seq(done)) };
                let held = held.into_iter().map(|(number, done)| (group(number), hold(done))).collect();
                let decisions = state.redrive(held, limit).unwrap();
                decisions.iter().map(|(_, decision)| words(decision)).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

fn words(decision: &Decision) -> String {
    let asked = |request: &Request| match request {
        Request::Open { own_hold, message, .. } => {
            let how = match own_hold {
                OwnHold::Unknown => "open",
                OwnHold::Redriven => "open again",
                OwnHold::Followed => "open unless held",
            };
            format!("{how} for {}", message.appended.seq.offset())
        }
        Request::Complete { message, .. } => format!("complete for {}", message.appended.seq.offset()),
        Request::Reread { from, to, cold, .. } => format!("reread {from}..{to}{}", if *cold { " cold" } else { "" }),
        Request::Hold(_, Hold { skipped_to, done_through }) => {
            format!("hold {:?}..={:?}", done_through.map(Seq::offset), skipped_to.map(Seq::offset))
        }
        Request::Heal(_, Hold { done_through, .. }) => format!("heal {:?}", done_through.map(Seq::offset)),
        Request::Wait(..) => "wait".to_owned(),
        Request::List(_, limit) => format!("list {limit}"),
        Request::Commit(..) | Request::Read { .. } => "not the judge's".to_owned(),
    };
    match decision {
        Decision::Nothing => "nothing".to_owned(),
        Decision::Deliver(seq, records) => {
            let recipients: u64 = records.iter().map(|record| record.recipients).sum();
            format!("deliver {} to {recipients}", seq.offset())
        }
        Decision::Ask(request) => asked(request),
        Decision::AskBehind(request) => format!("behind: {}", asked(request)),
    }
}

/// A group that is created and in memory.
fn warm(number: u64) -> Vec<(Said, &'static str)> {
    vec![
        (Read(create(10, number)), "open for 10"),
        (Back(number, empty(1)), "deliver 10 to 2"),
        (Delivered(number, 10), "nothing"),
    ]
}

/// Gives the judge all inputs in order, and compares each decision.
fn check(name: &str, only: Option<u32>, table: Vec<(Said, &str)>) -> State {
    let mut state = judge(only);
    for (at, (said, expected)) in table.into_iter().enumerate() {
        assert_eq!(said.to(&mut state), expected, "{name}: line {at}");
    }
    state
}

#[test]
fn what_is_in_memory_is_judged_and_delivered_at_once() {
    let mut table = warm(1);
    table.push((Read(say(11, group(1))), "deliver 11 to 2"));
    table.push((Delivered(1, 11), "nothing"));
    table.push((Read(message(12, group(1), Meaning::Corrupt("?".into()))), "deliver 12 to 0"));
    let state = check("in memory", None, table);
    assert_eq!((state.intake, state.parked.len()), (13, 0));
}

#[test]
fn what_memory_lacks_is_asked_for_while_the_conversation_is_parked() {
    let cold = vec![
        (Read(create(10, 1)), "open for 10"),
        (Read(say(11, group(1))), "nothing"),
        // The other conversation does not wait.
        (Read(create(12, 2)), "open for 12"),
        (Back(1, empty(1)), "deliver 10 to 2"),
        (Delivered(1, 10), "deliver 11 to 2"),
        (Delivered(1, 11), "nothing"),
    ];
    let state = check("cold", None, cold);
    assert!(!state.parked.contains(group(1)) && state.parked.contains(group(2)));

    let mut old_id = warm(1);
    old_id.push((Read(old(11, group(1))), "complete for 11"));
    let state = check("an old id", None, old_id);
    assert_eq!(state.parked.first(group(1)), Some(seq(11)));
}

#[test]
fn an_event_is_passed_only_when_its_records_are_handed_over() {
    let handing = vec![
        (Read(create(10, 1)), "open for 10"),
        (Read(say(11, group(1))), "nothing"),
        (Back(1, empty(1)), "deliver 10 to 2"),
    ];
    let mut state = check("handing over", None, handing);
    assert_eq!(state.parked.first(group(1)), Some(seq(10)), "a commit now begins there");
    assert_eq!(Delivered(1, 10).to(&mut state), "deliver 11 to 2");
    assert_eq!(state.parked.first(group(1)), Some(seq(11)));
}

#[test]
fn what_cannot_be_judged_is_held_and_skipped() {
    let mut unknown = warm(1);
    unknown.push((Read(newer(11, group(1))), "behind: hold Some(10)..=Some(11)"));
    unknown.push((Read(say(12, group(1))), "nothing"));
    unknown.push((Back(1, Found::Holding(Hold { skipped_to: Some(seq(11)), done_through: Some(seq(10)) })), "nothing"));
    // What was taken in while the row was written is skipped, and so is what comes then.
    let mut state = check("unknown rules", None, unknown);
    assert_eq!(state.skips[&group(1)].skipped_to, Some(seq(12)));
    assert_eq!(Read(say(13, group(1))).to(&mut state), "nothing");
    assert_eq!((state.skips[&group(1)].skipped_to, state.parked.len()), (Some(seq(13)), 0));

    let storage_holds =
        vec![(Read(create(10, 1)), "open for 10"), (Back(1, Found::Held), "behind: hold Some(9)..=Some(10)")];
    check("storage holds it", None, storage_holds);
    let follower = vec![(Read(create(10, 1)), "open unless held for 10"), (Back(1, Found::Held), "wait")];
    check("a follower holds nothing", Some(0), follower);
}

#[test]
fn a_follower_passes_over_what_is_skipped_and_nothing_else() {
    let table = vec![
        (Read(create(10, 1)), "open unless held for 10"),
        (Read(say(11, group(1))), "nothing"),
        (Read(say(12, group(1))), "nothing"),
        (Read(say(13, group(1))), "nothing"),
        (Back(1, Found::Skipped(seq(11))), "open unless held for 12"),
        // The row follows with the next commit of the loop that is followed.
        (Back(1, Found::NotWritten), "wait"),
        (Back(1, Found::Again), "open unless held for 12"),
        (Back(1, Found::Skipped(seq(20))), "nothing"),
    ];
    let state = check("skipped", Some(0), table);
    assert_eq!((state.parked.len(), state.intake), (0, 14), "nothing holds it up");
}

/// A follower passes over what is skipped, so a re-drive has to deliver to all partitions by itself.
#[test]
fn nothing_is_re_driven_while_a_partition_lags() {
    let reread = |queue: Vec<DecodedRecord>| Found::Reread(Reread { queue: queue.into(), next: 10, complete: true });
    let begun = || vec![(Held(vec![(1, 3)], 50), "reread 4..10 cold")];
    let mut judged = begun();
    judged.push((Back(1, reread(vec![create(4, 1), say(7, group(1))])), "open again for 4"));
    judged.push((Back(1, empty(1)), "deliver 4 to 2"));
    let mut healing = judged_to_the_end(begun());
    let healed = healing.pop();

    let mut state = check("before its first event", None, begun());
    state.lags = true;
    assert_eq!(Back(1, reread(vec![create(4, 1)])).to(&mut state), "nothing");
    stays_held(&mut state);
    let mut state = check("between two events", None, judged);
    state.lags = true;
    assert_eq!(Delivered(1, 4).to(&mut state), "nothing");
    stays_held(&mut state);
    let mut state = check("a hold that is found", None, vec![(Read(say(10, group(1))), "open for 10")]);
    state.lags = true;
    assert_eq!(Back(1, Found::Redrive(seq(4))).to(&mut state), "nothing");
    assert_eq!(state.skips[&group(1)], Hold { skipped_to: Some(seq(10)), done_through: None });

    let mut state = check("its row is written", None, healing);
    state.lags = true;
    let (said, expected) = healed.expect("it is healed");
    assert_eq!(said.to(&mut state), expected, "its deliveries were acknowledged before");
    let mut state = judge(None);
    state.begin_pass();
    assert!(words(&state.continue_pass()).starts_with("list"));
    state.lags = true;
    assert_eq!(Held(vec![(1, 3)], 1).to(&mut state), "");
    assert_eq!(state.skips[&group(1)].skipped_to, Some(seq(9)), "whatever its row lacks");
    state.lags = false;
    state.begin_pass_anew();
    assert_eq!(words(&state.continue_pass()), "list 50", "from the beginning");
    assert_eq!(Held(vec![(1, 3)], 50).to(&mut state), "reread 4..10 cold");
}

/// A follower waits for what is held and not skipped yet, so the loop that it follows must skip it.
#[test]
fn a_row_that_was_written_late_holds_what_is_in_memory() {
    let mut state = check("warm", None, warm(1));
    state.lags = true;
    assert_eq!(Held(vec![(1, 8)], 50).to(&mut state), "");
    assert_eq!(state.skips[&group(1)].skipped_to, Some(seq(10)));
    assert_eq!(Read(say(11, group(1))).to(&mut state), "nothing");
    assert_eq!(state.skips[&group(1)].skipped_to, Some(seq(11)));
}

#[test]
fn a_list_from_before_a_heal_begins_no_re_drive() {
    let mut state = check(
        "healing",
        None,
        judged_to_the_end(vec![(Held(vec![(1, 3)], 50), "reread 4..10 cold")]).into_iter().take(5).collect(),
    );
    state.begin_pass();
    assert!(words(&state.continue_pass()).starts_with("list"));
    assert_eq!(Back(1, Found::Healed).to(&mut state), "deliver 10 to 2");
    assert_eq!(Delivered(1, 10).to(&mut state), "nothing");
    assert_eq!(Held(vec![(1, 3)], 50).to(&mut state), "");
}

/// A re-drive of group 1 from 4 to the intake, up to its row.
fn judged_to_the_end(mut table: Vec<(Said, &'static str)>) -> Vec<(Said, &'static str)> {
    let read = Reread { queue: vec![create(4, 1)].into(), next: 10, complete: true };
    table.push((Back(1, Found::Reread(read)), "open again for 4"));
    table.push((Back(1, empty(1)), "deliver 4 to 2"));
    table.push((Delivered(1, 4), "behind: heal Some(9)"));
    table.push((Read(say(10, group(1))), "nothing"));
    table.push((Back(1, Found::Healed), "deliver 10 to 2"));
    table
}

fn stays_held(state: &mut State) {
    assert_eq!(state.skips[&group(1)], Hold { skipped_to: Some(seq(9)), done_through: None });
    assert_eq!(Read(say(10, group(1))).to(state), "nothing");
    assert_eq!((state.skips[&group(1)].skipped_to, state.parked.len()), (Some(seq(10)), 0));
}

#[test]
fn what_was_held_is_read_again_judged_and_healed() {
    let reread =
        |queue: Vec<DecodedRecord>, next| Found::Reread(Reread { queue: queue.into(), next, complete: next >= 10 });
    let again = vec![
        // Held from 4 on; the other conversation is beyond the intake.
        (Held(vec![(1, 3), (2, 20)], 50), "reread 4..10 cold"),
        (Back(1, reread(vec![create(4, 1)], 5)), "open again for 4"),
        (Back(1, empty(1)), "deliver 4 to 2"),
        (Delivered(1, 4), "behind: reread 5..10"),
        (Back(1, reread(vec![say(7, group(1))], 10)), "deliver 7 to 2"),
        (Delivered(1, 7), "behind: heal Some(9)"),
        (Read(say(10, group(1))), "nothing"),
        (Back(1, Found::Healed), "deliver 10 to 2"),
        (Delivered(1, 10), "nothing"),
    ];
    let state = check("held before", None, again);
    assert_eq!(state.parked.len(), 0);
}

#[test]
fn an_own_hold_begins_where_it_says_and_a_dropped_event_passes() {
    let own = vec![(Read(say(10, group(1))), "open for 10"), (Back(1, Found::Redrive(seq(4))), "reread 4..11 cold")];
    let state = check("an own hold", None, own);
    assert!(state.parked.is_redriven(group(1)));
    let dropped = vec![
        (Read(newer(10, group(1))), "open for 10"),
        (Back(1, Found::Dropped), "open for 10"),
        (Back(1, empty(1)), "deliver 10 to 0"),
        (Delivered(1, 10), "nothing"),
    ];
    check("a dropped event", None, dropped);
}

/// Several dropped events of one conversation cost one look-up of its hold, not one each.
#[test]
fn what_a_redrive_comes_to_may_have_been_dropped_as_well() {
    let reread =
        |queue: Vec<DecodedRecord>, next| Found::Reread(Reread { queue: queue.into(), next, complete: next >= 10 });
    let comes_to_it = || {
        vec![
            (Held(vec![(1, 3)], 50), "reread 4..10 cold"),
            (Back(1, reread(vec![create(4, 1)], 5)), "open again for 4"),
            (Back(1, empty(1)), "deliver 4 to 2"),
            (Delivered(1, 4), "behind: reread 5..10"),
            (Back(1, reread(vec![newer(7, group(1))], 10)), "open again for 7"),
        ]
    };
    let mut dropped = comes_to_it();
    dropped.push((Back(1, Found::Dropped), "open again for 7"));
    dropped.push((Back(1, empty(1)), "deliver 7 to 0"));
    dropped.push((Delivered(1, 7), "behind: heal Some(9)"));
    check("dropped", None, dropped);
    let mut held = comes_to_it();
    held.push((Back(1, Found::Held), "behind: hold Some(6)..=Some(9)"));
    check("not dropped", None, held);
}

#[test]
fn the_intake_waits_where_no_more_can_be_parked() {
    let mut state = check("warm", None, warm(1));
    for offset in (11..).take(PARKED_MAX) {
        Read(create(offset, offset)).to(&mut state);
    }
    let next = 11 + PARKED_MAX as u64;
    for blocked in [create(next, next), newer(next, group(1))] {
        assert_eq!(Read(blocked).to(&mut state), "no room");
        assert_eq!((state.intake, state.parked.len()), (next, PARKED_MAX), "nothing is taken in");
    }
    assert_eq!(Read(say(next, group(11))).to(&mut state), "nothing", "who is parked already, queues");
}

#[test]
fn the_look_at_the_holds_goes_part_by_part() {
    let mut state = judge(None);
    assert_eq!(words(&state.continue_pass()), "nothing");
    state.begin_pass();
    let asked = words(&state.continue_pass());
    assert_eq!(asked, format!("list {}", PARKED_MAX / 2));
    assert_eq!(words(&state.continue_pass()), "nothing", "one part at a time");
    assert_eq!(Held(vec![(1, 3)], 1).to(&mut state), "reread 4..10 cold");
    assert!(words(&state.continue_pass()).starts_with("list"), "there may be more of them");
    assert_eq!(Held(Vec::new(), 50).to(&mut state), "");
    assert_eq!(words(&state.continue_pass()), "nothing", "that was the last part");
    let mut follower = judge(Some(0));
    follower.begin_pass();
    assert_eq!(words(&follower.continue_pass()), "nothing");
}
