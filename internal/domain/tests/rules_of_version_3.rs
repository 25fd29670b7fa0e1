//! What version 3 of the rules changed, written by hand as `rules.rs` is.

#![allow(clippy::unwrap_used)]

mod room;

use domain::kinds::{EditMessage, Leave, RemoveReaction, SendMessage};
use domain::limits::{
    CUSTOM_DATA_BYTES_MAX, EDITS_MAX, EMOJIS_PER_MESSAGE_MAX, MENTIONS_MAX, PINS_MAX, QUOTE_CHARS_MAX,
    THREAD_MESSAGES_MAX,
};
use domain::{
    Action, Change, CommandId, Content, CustomContent, Decision, Effects, InThread, Mentions, MessageBody, Quote,
    ReactionChange, Refusal, Reply, Role, UserId,
};
use room::*;

#[test]
fn before_version_3_everybody_had_one_reaction_and_deleted_only_their_own_messages() {
    let mut room = Room::group();
    room.accepted(ANN, 10, message("hi"));
    let seq = room.ids[&id(10)].seq;
    let changed = |rules, action| room.judge_by(rules, BOB, 12, action).changes.swap_remove(0);
    let only = |emoji: &str| {
        let change = ReactionChange::Only;
        Change::Reaction { id: id(10), seq, slot: 1, emoji: emoji.into(), change }
    };
    for rules in [1, 2] {
        assert_eq!(changed(rules, react(10, "a")), only("a"));
        // What the emoji is does not matter: records of that time had none.
        for emoji in [None, Some("a".into())] {
            assert_eq!(changed(rules, Action::RemoveReaction(RemoveReaction { target: id(10), emoji })), only(""));
        }
        let judged = room.judge_by(rules, OWNER, 12, delete(10)).decision;
        assert_eq!(judged, Decision::Refused(Refusal::NotAuthor));
    }
}

#[test]
fn a_message_takes_twenty_different_emojis_and_what_all_have_removed_counts() {
    let mut room = Room::group();
    room.accepted(ANN, 10, message("hi"));
    let added = |effects: &Effects| match &effects.changes[0] {
        Change::Reaction { change: ReactionChange::Added { is_new }, .. } => *is_new,
        other => panic!("{other:?}"),
    };
    assert_eq!(EMOJIS_PER_MESSAGE_MAX, 20);
    for number in 0..20 {
        assert!(added(&room.accepted(BOB, 20 + number, react(10, &number.to_string()))));
    }
    assert!(!added(&room.accepted(ANN, 50, react(10, "7"))), "another one's emoji");
    assert!(!added(&room.accepted(ANN, 51, react(10, "7"))), "once more");
    room.refused(BOB, react(10, "one more"), Refusal::TooManyReactions);
    room.accepted(BOB, 52, unreact(10, "0"));
    room.refused(BOB, react(10, "one more"), Refusal::TooManyReactions);
    assert!(!added(&room.accepted(BOB, 53, react(10, "0"))));
    room.accepted(BOB, 54, message("another message"));
    assert!(added(&room.accepted(BOB, 55, react(54, "one more"))));
}

#[test]
fn admins_delete_messages_of_lower_roles_and_of_those_who_have_left() {
    let mut room = Room::group();
    for (number, author) in [(10, OWNER), (11, ADMIN), (12, ANN), (13, BOB), (14, BOB)] {
        room.accepted(author, number, message("hi"));
    }
    room.refused(ANN, delete(13), Refusal::NotAuthor);
    room.refused(ADMIN, delete(10), Refusal::Forbidden);
    room.accepted(OWNER, 20, role(ANN, Role::Admin));
    room.refused(ADMIN, delete(12), Refusal::Forbidden);
    let by = |effects: &Effects| match &effects.changes[0] {
        Change::Deleted { by, .. } => *by,
        other => panic!("{other:?}"),
    };
    assert_eq!(by(&room.accepted(ADMIN, 21, delete(13))), Some(user(ADMIN)));
    assert_eq!(by(&room.accepted(OWNER, 22, delete(12))), Some(user(OWNER)));
    assert_eq!(by(&room.accepted(ADMIN, 23, delete(11))), None, "their own");
    room.accepted(BOB, 24, Action::Leave(Leave));
    assert_eq!(by(&room.accepted(ADMIN, 25, delete(14))), Some(user(ADMIN)));
    let mut direct = Room::direct();
    direct.accepted(ANN, 10, message("hi"));
    direct.refused(BOB, delete(10), Refusal::NotAuthor);
}

/// The ordinal in the conversation and the one in the thread.
fn counts(effects: &Effects) -> (u64, u64) {
    let (_, ordinal, content) = entry(effects).unwrap();
    let Content::Message { thread: Some(thread), .. } = content else { panic!("{content:?}") };
    (ordinal, thread.ordinal)
}

#[test]
fn a_thread_counts_its_messages_and_the_conversation_does_not() {
    let mut room = Room::group();
    room.accepted(ANN, 10, message("one"));
    room.accepted(ANN, 11, message("two"));
    assert_eq!(counts(&room.accepted(BOB, 20, below(10, false))), (2, 1));
    assert_eq!(counts(&room.accepted(ANN, 21, below(11, false))), (2, 1), "each root counts for itself");
    assert_eq!(counts(&room.accepted(ANN, 22, below(10, true))), (3, 2), "also in the conversation");
    room.accepted(ANN, 23, delete(22));
    let last = room.accepted(BOB, 24, below(10, false));
    assert_eq!(counts(&last), (3, 3), "deleted ones count");
    let of = InThread { root_seq: room.ids[&id(10)].seq, root_slot: 1, also_in_conversation: false };
    assert_eq!(last.changes[1], Change::Thread { of, slot: 6, ordinal: 3 });
    assert_eq!(room.ids[&id(24)].thread, Some(of));
    assert_eq!(room.ids[&id(10)].thread, None);
    assert_eq!(entry(&room.accepted(BOB, 25, message("three"))).unwrap().1, 4);
    // What is in a thread is a message as others are.
    room.accepted(ANN, 26, react(20, "a"));
    room.accepted(BOB, 27, edit(20, "better"));
}

#[test]
fn a_thread_begins_under_a_message_that_stands_outside_threads() {
    let mut room = Room::group();
    room.accepted(ANN, 10, message("one"));
    room.accepted(ANN, 11, below(10, false));
    room.accepted(ANN, 12, below(10, true));
    for reply in [11, 12] {
        room.refused(BOB, below(reply, false), Refusal::NotARoot);
    }
    room.refused(STRANGER, below(10, false), Refusal::NotMember);
    for none in [2, 99] {
        room.refused(BOB, below(none, false), Refusal::NoSuchMessage);
    }
    let judged = |rules| room.judge_by(rules, BOB, 30, below(10, false)).decision;
    assert_eq!([1, 2].map(judged), [Decision::Refused(Refusal::Invalid); 2], "there were none");
    room.accepted(ANN, 13, delete(10));
    room.refused(ANN, below(10, false), Refusal::NoSuchMessage);
    // Who has joined later cannot read the root.
    room.accepted(ANN, 14, message("two"));
    room.accepted(OWNER, 15, add(&[STRANGER]));
    room.refused(STRANGER, below(14, false), Refusal::NoSuchMessage);
    let effects = room.accepted(ANN, 16, below(14, false));
    assert!(effects.recipients.contains(&user(STRANGER)) && effects.blind.is_empty(), "but what is said there now");
}

#[test]
fn admins_pin_messages_and_a_deleted_one_is_pinned_no_more() {
    let mut room = Room::group();
    for number in 10..=12 {
        room.accepted(ANN, number, message("hi"));
    }
    let pinned = |room: &Room| -> Vec<CommandId> { room.state.pins.iter().map(|pin| pin.id).collect() };
    room.refused(ANN, pin(10), Refusal::Forbidden);
    room.refused(STRANGER, pin(10), Refusal::NotMember);
    room.refused(ADMIN, pin(99), Refusal::NoSuchMessage);
    room.refused(ADMIN, unpin(10), Refusal::Already);
    room.accepted(ADMIN, 20, pin(11));
    room.accepted(OWNER, 21, pin(10));
    room.accepted(OWNER, 22, pin(12));
    room.refused(OWNER, pin(10), Refusal::Already);
    assert_eq!(pinned(&room), [id(11), id(10), id(12)], "in the order in which they were pinned");
    // Another title keeps them.
    room.accepted(OWNER, 23, title("tea"));
    room.accepted(ADMIN, 24, unpin(10));
    assert_eq!(pinned(&room), [id(11), id(12)]);
    room.accepted(ANN, 25, delete(11));
    assert_eq!(pinned(&room), [id(12)]);
    assert_eq!(room.accepted(ANN, 26, delete(10)).changes.len(), 2, "that was not pinned: its row, and the id's");
    let judged = |rules| room.judge_by(rules, OWNER, 30, unpin(12)).decision;
    assert_eq!([1, 2].map(judged), [Decision::Refused(Refusal::Invalid); 2], "there were none");
    // A program that knows no pins judges an event of that time in the same way.
    let by_old_rules = room.judge_by(2, ANN, 31, delete(12)).changes;
    assert!(!by_old_rules.iter().any(|change| matches!(change, Change::Pins(_))), "{by_old_rules:?}");
    let mut direct = Room::direct();
    direct.accepted(ANN, 10, message("hi"));
    direct.accepted(BOB, 11, pin(10));
    assert_eq!(pinned(&direct), [id(10)], "in a direct conversation either pins");
}

#[test]
fn a_conversation_has_a_hundred_pins() {
    let mut room = Room::group();
    assert_eq!(PINS_MAX, 100);
    for number in 0..101 {
        room.accepted(ANN, 100 + number, message("hi"));
    }
    for number in 0..100 {
        room.accepted(OWNER, 300 + number, pin(100 + number));
    }
    room.refused(OWNER, pin(200), Refusal::TooManyPins);
    room.accepted(OWNER, 500, unpin(100));
    room.accepted(OWNER, 501, pin(200));
}

#[test]
fn a_thread_takes_so_many_messages_and_no_more() {
    let mut room = Room::group();
    room.accepted(ANN, 10, message("root"));
    for number in 0..i64::try_from(THREAD_MESSAGES_MAX).unwrap() {
        room.accepted(BOB, 1_000 + number, below(10, false));
    }
    room.refused(BOB, below(10, true), Refusal::ThreadFull);
    room.accepted(BOB, 20, message("another root"));
    room.accepted(BOB, 21, below(20, false));
}

fn naming(of: &[u64], all: bool) -> MessageBody {
    MessageBody { mentions: Mentions::new(users(of), all), ..MessageBody::from("hi") }
}

fn say(body: MessageBody) -> Action {
    Action::SendMessage(SendMessage { body, reply_to: None, thread: None })
}

fn say_anew(target: i64, body: MessageBody) -> Action {
    Action::EditMessage(EditMessage { target: id(target), body })
}

/// Who is mentioned by the event, who is not any more, and whether every member is, if that has changed.
fn mentioned(effects: &Effects) -> Option<(Vec<UserId>, Vec<UserId>, Option<bool>)> {
    effects.changes.iter().find_map(|change| match change {
        Change::Extras { added, removed, all, .. } => Some((added.clone(), removed.clone(), *all)),
        _ => None,
    })
}

#[test]
fn an_edit_mentions_those_alone_whom_the_message_has_not_mentioned() {
    let mut room = Room::group();
    let sent = room.accepted(ANN, 10, say(naming(&[ANN, BOB], false)));
    assert_eq!(mentioned(&sent), Some((users(&[BOB]), vec![], None)), "nobody mentions themselves");
    let same = room.accepted(ANN, 11, say_anew(10, naming(&[ANN, BOB], false)));
    assert_eq!(mentioned(&same), Some((vec![], vec![], None)), "the same");
    let more = room.accepted(ANN, 12, say_anew(10, naming(&[ADMIN, BOB], false)));
    assert_eq!(mentioned(&more), Some((users(&[ADMIN]), vec![], None)));
    let fewer = room.accepted(ANN, 13, say_anew(10, naming(&[ADMIN], false)));
    assert_eq!(mentioned(&fewer), Some((vec![], users(&[BOB]), None)));
    // Of a deleted message nothing is left; of one that mentioned nobody, nothing had to go.
    assert_eq!(mentioned(&room.accepted(ANN, 14, delete(10))), Some((vec![], users(&[ADMIN]), None)));
    room.accepted(ANN, 15, message("plain"));
    assert_eq!(mentioned(&room.accepted(ANN, 16, delete(15))), None);
}

#[test]
fn members_are_mentioned_and_everybody_by_admins() {
    let mut room = Room::group();
    room.refused(ANN, say(naming(&[STRANGER], false)), Refusal::NoSuchMember);
    room.refused(ANN, say(naming(&[], true)), Refusal::Forbidden);
    let all = room.accepted(ADMIN, 10, say(naming(&[], true)));
    assert_eq!(mentioned(&all), Some((vec![], vec![], Some(true))));
    assert_eq!(
        mentioned(&room.accepted(ADMIN, 11, say_anew(10, naming(&[], false)))),
        Some((vec![], vec![], Some(false)))
    );
    // What a message has mentioned, it may go on to mention: who has left, and everybody by who is no admin any more.
    room.accepted(ADMIN, 20, say(naming(&[BOB], true)));
    room.accepted(BOB, 21, Action::Leave(Leave));
    room.accepted(OWNER, 22, role(ADMIN, Role::Member));
    let same = room.accepted(ADMIN, 23, say_anew(20, naming(&[BOB], true)));
    assert_eq!(mentioned(&same), Some((vec![], vec![], None)));
    room.refused(ADMIN, say_anew(20, naming(&[BOB, STRANGER], true)), Refusal::NoSuchMember);
    // Who joins after the message cannot read it, and is not told of it.
    room.accepted(OWNER, 24, add(&[BOB, STRANGER]));
    let later = room.accepted(ADMIN, 25, say_anew(20, naming(&[BOB, STRANGER, ANN], true)));
    assert_eq!(mentioned(&later), Some((users(&[ANN]), vec![], None)));
    let mut direct = Room::direct();
    direct.accepted(ANN, 10, say(naming(&[], true)));
}

#[test]
fn before_version_3_messages_were_texts_and_edits_of_that_time_say_everything_anew() {
    let mut room = Room::group();
    let reply =
        |quote| Action::SendMessage(SendMessage { body: "so".into(), reply_to: Some(quoting(quote)), thread: None });
    let custom = CustomContent { kind: "a.b".into(), data: "c".into() };
    let custom = MessageBody { custom: Some(custom), ..MessageBody::from("hi") };
    for action in [say(naming(&[BOB], false)), say(naming(&[], true)), say(custom.clone()), reply((0, 1))] {
        for rules in [1, 2] {
            let judged = room.judge_by(rules, OWNER, 30, action.clone()).decision;
            assert_eq!(judged, Decision::Refused(Refusal::Invalid), "{action:?}");
        }
        assert_eq!(room.judge(OWNER, 30, action).decision, Decision::Accepted);
    }
    // A service of the last release edits a message of this one.
    room.accepted(ANN, 10, say(MessageBody { mentions: Mentions::new(users(&[BOB]), false), ..custom }));
    let whole = |effects: &Effects| match effects.changes[0] {
        Change::Body { whole, .. } | Change::Deleted { whole, .. } => whole,
        ref other => panic!("{other:?}"),
    };
    for action in [edit(10, "a text"), delete(10)] {
        let old = room.judge_by(2, ANN, 31, action);
        assert_eq!(mentioned(&old), Some((vec![], users(&[BOB]), None)));
        assert!(whole(&old));
    }
    room.accepted(ANN, 11, message("plain"));
    assert!(!whole(&room.judge_by(2, ANN, 12, edit(11, "still plain"))), "its row has no more cells than it had");
}

#[test]
fn what_a_message_said_is_kept_for_a_hundred_edits_and_goes_with_it() {
    let mut room = Room::group();
    assert_eq!(EDITS_MAX, 100);
    room.accepted(ANN, 10, message("first"));
    let mut seqs = Vec::new();
    for number in 0..100 {
        seqs.push(domain::Seq::try_from(room.next).unwrap());
        let effects = room.accepted(ANN, 100 + number, edit(10, "anew"));
        assert!(matches!(effects.changes[0], Change::Body { kept: true, .. }));
    }
    room.refused(ANN, edit(10, "once more"), Refusal::TooManyEdits);
    // What it said at first may have been more than a text, although the last edit was none: that goes, too.
    for rules in [2, 3] {
        let gone = room.judge_by(rules, ANN, 302, delete(10));
        assert!(matches!(gone.changes[0], Change::Deleted { whole: true, .. }));
    }
    let old = room.judge_by(2, ANN, 300, edit(10, "by a service of the last release"));
    assert!(matches!(old.changes[0], Change::Body { kept: false, .. }));
    let gone = room.accepted(ANN, 301, delete(10));
    assert!(matches!(&gone.changes[0], Change::Deleted { edits, .. } if *edits == seqs));
}

fn quoting((from, to): (u32, u32)) -> Reply {
    Reply { to: id(10), quote: Some(Quote { from, to }) }
}

#[test]
fn what_a_message_has_besides_its_text_is_bounded() {
    let mut room = Room::group();
    let reply =
        |quote| Action::SendMessage(SendMessage { body: "so".into(), reply_to: Some(quoting(quote)), thread: None });
    for quote in [(0, 0), (5, 4), (0, QUOTE_CHARS_MAX + 1), (16_384, 16_385)] {
        room.refused(ANN, reply(quote), Refusal::Invalid);
        assert!(reply(quote).check(user(ANN)).is_err());
    }
    room.accepted(ANN, 20, reply((16_000, 16_384)));
    room.accepted(ANN, 21, reply((3, 3 + QUOTE_CHARS_MAX)));
    let custom = |kind: &str, data: String| {
        say(MessageBody {
            custom: Some(CustomContent { kind: kind.into(), data: data.into() }),
            ..MessageBody::from("hi")
        })
    };
    for kind in ["", "poll", ".", "a.", ".a", "A.b", "a b.c", "\u{e4}.b", &format!("a.{}", "b".repeat(63))] {
        room.refused(ANN, custom(kind, String::new()), Refusal::Invalid);
        assert!(custom(kind, String::new()).check(user(ANN)).is_err(), "{kind}");
    }
    room.refused(ANN, custom("a.b", "x".repeat(CUSTOM_DATA_BYTES_MAX + 1)), Refusal::Invalid);
    room.accepted(ANN, 22, custom("com.example.poll_2-x", "x".repeat(CUSTOM_DATA_BYTES_MAX)));
    let crowd: Vec<u64> = (100..).take(MENTIONS_MAX + 1).collect();
    room.accepted(OWNER, 23, add(&crowd));
    room.refused(ANN, say(naming(&crowd, false)), Refusal::Invalid);
    room.accepted(ANN, 24, say(naming(&crowd[1..], false)));
}
