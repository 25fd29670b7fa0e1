//! The rules of a conversation, written by hand: who may do what, who receives it, and what it changes. All other
//! tests of the reducer compare it with code that shares its rules.

#![allow(clippy::unwrap_used)]

mod room;

use domain::kinds::{AddReaction, Leave, RemoveReaction, SendMessage, Withdraw};
use domain::limits::{EMOJI_BYTES_MAX, MEMBERS_PER_EVENT_MAX, STAMP_AHEAD_MS_MAX, TITLE_BYTES_MAX};
use domain::{
    Action, Change, Content, ConversationId, ConversationKind, Decision, IdRow, ReactionChange, Refusal, Role, Stands,
};
use room::*;

#[test]
fn a_message_takes_the_next_place_and_ordinal_and_all_members_hear_it() {
    let mut room = Room::group();
    assert_eq!((room.state.slot, room.state.ordinal), (1, 0), "the creation has a place, a role change has none");
    let first = room.accepted(ANN, 10, message("hi"));
    assert_eq!(entry(&first), Some((1, 1, &Content::Message { body: "hi".into(), reply_to: None, thread: None })));
    assert_eq!((first.slot, first.ordinal, stands(&first)), (2, 1, (id(10), Stands::Message { slot: 1 })));
    assert_eq!(first.recipients, users(&[OWNER, ADMIN, ANN, BOB]));
    let joined = room.accepted(OWNER, 11, add(&[STRANGER]));
    assert_eq!(entry(&joined), Some((2, 1, &Content::Joined(users(&[STRANGER])))));
    assert_eq!((joined.slot, joined.ordinal, stands(&joined)), (3, 1, (id(11), Stands::Command)));
    let second = room.accepted(
        BOB,
        12,
        Action::SendMessage(SendMessage { body: "yes".into(), reply_to: Some(id(10).into()), thread: None }),
    );
    assert_eq!((second.slot, second.ordinal), (4, 2));
    for nothing in ["", " ", "\n\t"] {
        room.refused(ANN, message(nothing), Refusal::Invalid);
    }
    room.refused(STRANGER + 1, message("hi"), Refusal::NotMember);
    Room::empty().refused(OWNER, message("hi"), Refusal::NotMember);
}

#[test]
fn a_second_event_of_an_id_is_settled_by_what_stands_or_refused() {
    let mut room = Room::group();
    room.accepted(ANN, 10, message("hi"));
    room.accepted(ANN, 11, Action::Withdraw(Withdraw));
    let first_seq = room.ids[&id(10)].seq;
    let decide = |author, number, action| room.judge(author, number, action).decision;
    let settled = |number: i64| {
        let IdRow { seq, stands, .. } = room.ids[&id(number)];
        Decision::Settled { first_seq: seq, stands }
    };
    assert_eq!(decide(ANN, 10, message("hi")), Decision::Settled { first_seq, stands: Stands::Message { slot: 1 } });
    assert_eq!(decide(ANN, 10, message("ho")), Decision::Refused(Refusal::Conflict), "another payload");
    assert_eq!(decide(BOB, 10, message("hi")), Decision::Refused(Refusal::Conflict), "another author");
    assert_eq!(decide(ANN, 10, Action::Withdraw(Withdraw)), settled(10), "too late: it stands");
    assert_eq!(decide(BOB, 10, Action::Withdraw(Withdraw)), Decision::Refused(Refusal::Conflict));
    assert_eq!(decide(ANN, 11, message("hi")), Decision::Refused(Refusal::Withdrawn));
    assert_eq!(decide(ANN, 11, Action::Withdraw(Withdraw)), settled(11));
    assert_eq!(decide(BOB, 11, message("hi")), Decision::Refused(Refusal::Conflict), "it is Ann's withdrawal");
    let retry = room.judge(ANN, 10, message("hi"));
    assert_eq!((retry.recipients, retry.changes), (users(&[ANN]), vec![]));
    // The duplicate check comes before every refusal: an author who has left still learns that the message was
    // accepted.
    let mut later = room.clone();
    later.accepted(ANN, 12, Action::Leave(Leave));
    assert_eq!(later.judge(ANN, 10, message("hi")).decision, settled(10));
    later.refused(ANN, message("hi"), Refusal::NotMember);
}

#[test]
fn a_withdrawal_concerns_its_author_alone() {
    let mut room = Room::group();
    let withdrawn = room.accepted(ANN, 10, Action::Withdraw(Withdraw));
    assert_eq!((withdrawn.recipients.clone(), stands(&withdrawn)), (users(&[ANN]), (id(10), Stands::Withdrawal)));
    assert_eq!((entry(&withdrawn), withdrawn.slot, withdrawn.ordinal), (None, 1, 0));
    room.refused(OWNER, edit(10, "x"), Refusal::NoSuchMessage);
}

/// Issue 10, item 3. Version 1 is unchanged.
#[test]
fn since_version_2_a_stranger_leaves_no_trace_and_learns_nothing() {
    let mut room = Room::group();
    room.accepted(ANN, 10, message("hi"));
    let decide = |rules, author, number, action: Action| room.judge_by(rules, author, number, action);
    assert_eq!(decide(1, STRANGER, 11, Action::Withdraw(Withdraw)).decision, Decision::Accepted);
    assert_eq!(decide(1, STRANGER, 10, message("hi")).decision, Decision::Refused(Refusal::Conflict));
    for (number, action) in
        [(10, Action::Withdraw(Withdraw)), (11, Action::Withdraw(Withdraw)), (10, message("hi")), (11, message("hi"))]
    {
        let told = decide(2, STRANGER, number, action.clone());
        assert_eq!(told.decision, Decision::Refused(Refusal::NotMember), "the same, whatever stands there");
        assert_eq!((told.recipients, told.changes, told.kept), (users(&[STRANGER]), vec![], false));
        let nowhere = Room::empty().judge_by(2, STRANGER, number, action);
        assert_eq!((nowhere.decision, nowhere.kept), (Decision::Refused(Refusal::NotMember), false));
    }
    // A former member may still withdraw a command, and learns why others are refused.
    room.accepted(BOB, 20, Action::Leave(Leave));
    assert_eq!(room.judge(BOB, 21, Action::Withdraw(Withdraw)).decision, Decision::Accepted);
    let late = room.judge(BOB, 22, message("too late"));
    assert_eq!((late.decision, late.kept), (Decision::Refused(Refusal::NotMember), true));
}

/// Issue 10, item 8.
#[test]
fn since_version_2_nobody_hears_how_a_message_from_before_their_joining_has_changed() {
    let mut room = Room::group();
    room.accepted(ANN, 10, message("old"));
    room.accepted(BOB, 11, Action::Leave(Leave));
    room.accepted(OWNER, 12, add(&[5]));
    room.accepted(OWNER, 13, add(&[BOB]));
    room.accepted(ANN, 14, message("new"));
    let react = |target| Action::AddReaction(AddReaction { target: id(target), emoji: "+1".into() });
    for action in [edit(10, "x"), react(10)] {
        let seen = room.judge(ANN, 30, action.clone());
        assert_eq!((seen.decision, seen.blind), (Decision::Accepted, users(&[BOB, 5])), "all hear of it");
        assert_eq!(seen.recipients, users(&[OWNER, ADMIN, ANN, BOB, 5]));
        assert_eq!(room.judge_by(1, ANN, 30, action).blind, []);
    }
    assert_eq!(room.judge(ANN, 30, edit(14, "x")).blind, []);
    // A member who never could read the message does not learn that it exists. Bob, who was a member then, can
    // read it in history.
    room.refused(5, react(10), Refusal::NoSuchMessage);
    room.refused(5, unreact(10, "+"), Refusal::NoSuchMessage);
    room.refused(5, delete(10), Refusal::NoSuchMessage);
    room.refused(5, edit(10, "x"), Refusal::NoSuchMessage);
    room.refused(5, edit(14, "x"), Refusal::NotAuthor);
    assert_eq!(room.judge(5, 30, react(14)).decision, Decision::Accepted);
    assert_eq!(room.judge(BOB, 30, react(10)).decision, Decision::Accepted);
    assert_eq!(room.judge_by(1, 5, 30, react(10)).decision, Decision::Accepted);
}

#[test]
fn an_id_may_be_stamped_a_minute_ahead_and_no_more() {
    let room = Room::group();
    assert_eq!(room.judge(ANN, NOW_MS + STAMP_AHEAD_MS_MAX, message("hi")).decision, Decision::Accepted);
    let ahead = room.judge(ANN, NOW_MS + STAMP_AHEAD_MS_MAX + 1, message("hi"));
    assert_eq!((ahead.decision, ahead.recipients), (Decision::Refused(Refusal::IdFromFuture), users(&[ANN])));
    assert_eq!(room.judge(ANN, 5, message("hi")).decision, Decision::Accepted, "there is no upper age");
}

#[test]
fn a_creation_opens_what_its_id_says_and_only_once() {
    use ConversationKind::{Direct, Group};
    let mut room = Room::empty();
    let made = room.accepted(OWNER, 1, create(Group, Some("tea"), &[BOB, OWNER, ANN, ANN]));
    assert_eq!(made.recipients, users(&[OWNER, ANN, BOB]));
    assert_eq!(entry(&made), Some((0, 0, &Content::Created)));
    assert_eq!(room.state.settings.as_ref().unwrap().title, "tea");
    assert_eq!([OWNER, ANN, BOB].map(|n| room.role(n).unwrap()), [Role::Owner, Role::Member, Role::Member]);
    room.refused(OWNER, create(Group, None, &[]), Refusal::Exists);

    let group = Room::empty();
    for (author, number, action) in [
        (ANN, 1, create(Group, None, &[])),
        (OWNER, 2, create(Group, None, &[])),
        (OWNER, 1, create(Direct, None, &[ANN])),
        (OWNER, 1, create(Group, Some(&"t".repeat(TITLE_BYTES_MAX + 1)), &[])),
        (OWNER, 1, create(Group, None, &[ANN; MEMBERS_PER_EVENT_MAX + 1])),
    ] {
        assert_eq!(group.judge(author, number, action).decision, Decision::Refused(Refusal::Invalid));
    }
    for fits in
        [create(Group, Some(&"t".repeat(TITLE_BYTES_MAX)), &[]), create(Group, None, &[ANN; MEMBERS_PER_EVENT_MAX])]
    {
        assert_eq!(group.judge(OWNER, 1, fits).decision, Decision::Accepted);
    }

    let pair = Room { conversation: ConversationId::direct(user(BOB), user(ANN)), ..Room::empty() };
    for bad in [&[][..], &[ANN], &[BOB, OWNER], &[STRANGER]] {
        pair.refused(ANN, create(Direct, None, bad), Refusal::Invalid);
    }
    pair.refused(ANN, create(Direct, Some("tea"), &[BOB]), Refusal::Invalid);
    let mut both = pair.clone();
    both.accepted(BOB, 7, create(Direct, Some(""), &[ANN, BOB]));
    assert_eq!([ANN, BOB].map(|n| both.role(n).unwrap()), [Role::Member, Role::Member], "nobody owns a talk of two");
    both.refused(ANN, create(Direct, None, &[BOB]), Refusal::Exists);
}

#[test]
fn owner_and_admins_add_and_remove_those_below_them() {
    let mut room = Room::group();
    room.refused(ANN, add(&[STRANGER]), Refusal::Forbidden);
    room.refused(ADMIN, add(&[]), Refusal::Invalid);
    room.refused(ADMIN, add(&[STRANGER; MEMBERS_PER_EVENT_MAX + 1]), Refusal::Invalid);
    let many: Vec<u64> = (100..100 + MEMBERS_PER_EVENT_MAX as u64).collect();
    assert_eq!(room.judge(ADMIN, 9, add(&many)).decision, Decision::Accepted);
    room.refused(ADMIN, add(&[ANN, BOB]), Refusal::Already);
    let added = room.accepted(ADMIN, 10, add(&[STRANGER, ANN, STRANGER]));
    assert_eq!(entry(&added).unwrap().2, &Content::Joined(users(&[STRANGER])), "who is in already does not join");
    assert_eq!(added.recipients, users(&[OWNER, ADMIN, ANN, BOB, STRANGER]), "who joins hears of it");

    room.refused(ANN, remove(BOB), Refusal::Forbidden);
    room.refused(ADMIN, remove(OWNER), Refusal::Forbidden);
    room.refused(ADMIN, remove(ADMIN), Refusal::Invalid);
    room.refused(OWNER, remove(77), Refusal::NoSuchMember);
    room.accepted(OWNER, 11, role(BOB, Role::Admin));
    room.refused(ADMIN, remove(BOB), Refusal::Forbidden);
    let removed = room.accepted(ADMIN, 12, remove(STRANGER));
    assert_eq!(removed.recipients, users(&[OWNER, ADMIN, ANN, BOB, STRANGER]), "who is removed hears of it, too");
    assert_eq!(entry(&removed).unwrap().2, &Content::Left(user(STRANGER)));
    room.accepted(OWNER, 13, remove(BOB));
    assert_eq!((room.role(STRANGER), room.role(BOB)), (None, None));
    assert_eq!(room.judge(OWNER, 14, message("hi")).recipients, users(&[OWNER, ADMIN, ANN]));

    let pair = Room::direct();
    for action in [add(&[STRANGER]), remove(BOB), title("x"), role(BOB, Role::Admin), Action::Leave(Leave)] {
        pair.refused(ANN, action, Refusal::Forbidden);
    }
}

#[test]
fn a_group_has_one_owner_whoever_leaves() {
    let mut room = Room::group();
    room.refused(ADMIN, role(ANN, Role::Admin), Refusal::Forbidden);
    room.refused(OWNER, role(ADMIN, Role::Admin), Refusal::Already);
    room.refused(OWNER, role(STRANGER, Role::Admin), Refusal::NoSuchMember);
    room.refused(OWNER, role(OWNER, Role::Admin), Refusal::Invalid);
    assert_eq!(entry(&room.judge(OWNER, 10, role(ANN, Role::Admin))), None, "a role has no place in the timeline");
    room.accepted(OWNER, 11, role(ANN, Role::Owner));
    assert_eq!((room.role(ANN), room.role(OWNER)), (Some(Role::Owner), Some(Role::Admin)));

    // Ann leaves: of the two admins, both there from the beginning, the one with the lower id.
    let left = room.accepted(ANN, 12, Action::Leave(Leave));
    assert_eq!(entry(&left).unwrap().2, &Content::Left(user(ANN)));
    assert_eq!((room.role(ANN), room.role(OWNER), room.role(ADMIN)), (None, Some(Role::Owner), Some(Role::Admin)));
    assert_eq!(left.recipients, users(&[OWNER, ADMIN, ANN, BOB]));
    room.accepted(OWNER, 13, Action::Leave(Leave));
    assert_eq!((room.role(ADMIN), room.role(BOB)), (Some(Role::Owner), Some(Role::Member)), "a role goes before time");
    room.accepted(ADMIN, 14, add(&[ANN]));
    room.accepted(ADMIN, 15, Action::Leave(Leave));
    assert_eq!((room.role(BOB), room.role(ANN)), (Some(Role::Owner), Some(Role::Member)), "who was there longer");
    room.accepted(ANN, 16, Action::Leave(Leave));
    assert_eq!(room.role(BOB), Some(Role::Owner), "when others leave, the owner stays it");
    room.accepted(BOB, 17, Action::Leave(Leave));
    assert!(room.state.members.is_empty());
    room.refused(BOB, Action::Leave(Leave), Refusal::NotMember);
}

#[test]
fn a_title_is_changed_by_owner_and_admins() {
    let mut room = Room::group();
    room.refused(ANN, title("tea"), Refusal::Forbidden);
    room.refused(OWNER, title(""), Refusal::Already);
    room.refused(OWNER, title(&"t".repeat(TITLE_BYTES_MAX + 1)), Refusal::Invalid);
    let changed = room.accepted(ADMIN, 10, title("tea"));
    assert_eq!(entry(&changed).unwrap().2, &Content::Title("tea".into()));
    assert_eq!(room.state.settings.as_ref().unwrap().title, "tea");
    room.accepted(OWNER, 11, title(&"t".repeat(TITLE_BYTES_MAX)));
}

#[test]
fn messages_are_changed_by_their_authors_and_reacted_to_by_all_until_they_are_deleted() {
    let mut room = Room::group();
    room.accepted(ANN, 10, message("hi"));
    let seq = room.ids[&id(10)].seq;
    room.refused(BOB, edit(10, "mine"), Refusal::NotAuthor);
    room.refused(BOB, delete(10), Refusal::NotAuthor);
    room.refused(ANN, edit(10, " "), Refusal::Invalid);
    for none in [edit(99, "x"), delete(99), react(99, "+"), unreact(99, "+")] {
        room.refused(ANN, none, Refusal::NoSuchMessage);
    }
    room.refused(OWNER, edit(1, "x"), Refusal::NoSuchMessage); // a command, not a message
    for strange in ["", &"+".repeat(EMOJI_BYTES_MAX + 1)] {
        room.refused(BOB, react(10, strange), Refusal::Invalid);
        room.refused(BOB, unreact(10, strange), Refusal::Invalid);
    }
    room.refused(BOB, Action::RemoveReaction(RemoveReaction { target: id(10), emoji: None }), Refusal::Invalid);
    room.refused(STRANGER, react(10, "+"), Refusal::NotMember);

    let seq_of_edit = domain::Seq::try_from(room.next).unwrap();
    let edited = room.accepted(ANN, 11, edit(10, "ho"));
    assert_eq!(
        edited.changes[0],
        Change::Body { id: id(10), seq, slot: 1, body: "ho".into(), kept: true, whole: false }
    );
    let long = "+".repeat(EMOJI_BYTES_MAX);
    let reaction = |change| Change::Reaction { id: id(10), seq, slot: 1, emoji: long.clone(), change };
    let reacted = room.accepted(BOB, 12, react(10, &long));
    assert_eq!(reacted.changes[0], reaction(ReactionChange::Added { is_new: true }));
    let taken = room.accepted(BOB, 13, unreact(10, &long));
    assert_eq!(taken.changes[0], reaction(ReactionChange::Removed));
    let deleted = room.accepted(ANN, 14, delete(10));
    assert_eq!(
        deleted.changes[0],
        Change::Deleted { id: id(10), seq, slot: 1, by: None, thread: None, whole: true, edits: vec![seq_of_edit] }
    );
    for effects in [edited, reacted, taken, deleted] {
        assert_eq!((entry(&effects), effects.slot, effects.ordinal), (None, 2, 1), "they change rows and add none");
        assert_eq!(effects.recipients, users(&[OWNER, ADMIN, ANN, BOB]));
        assert_eq!(stands(&effects).1, Stands::Command);
    }
    for late in [edit(10, "again"), delete(10), react(10, "+"), unreact(10, "+")] {
        room.refused(ANN, late, Refusal::NoSuchMessage);
    }
}

/// Clients rely on the limits, and events were judged by them.
#[test]
fn bounds_stay_what_they_are() {
    use domain::limits::{BODY_BYTES_MAX, MEMBERS_MAX};
    assert_eq!((BODY_BYTES_MAX, TITLE_BYTES_MAX, EMOJI_BYTES_MAX), (16_384, 256, 64));
    assert_eq!((MEMBERS_PER_EVENT_MAX, MEMBERS_MAX, STAMP_AHEAD_MS_MAX), (256, 10_000, 60_000));
}

/// Clients and rows use these names.
#[test]
fn names_stay_what_they_are() {
    let refusals = "conflict withdrawn id_from_future exists not_member forbidden already no_such_member \
                    no_such_user full no_such_message not_author not_a_root thread_full too_many_edits \
                    too_many_reactions too_many_pins invalid";
    assert_eq!(Refusal::ALL.map(Refusal::name).join(" "), refusals);
    let roles = [Role::Member, Role::Admin, Role::Owner];
    assert_eq!(roles.map(Role::name), ["member", "admin", "owner"]);
    assert!(roles.iter().all(|role| Role::from_name(role.name()) == Some(*role)));
    let kinds = [ConversationKind::Direct, ConversationKind::Group];
    assert_eq!(kinds.map(ConversationKind::name), ["direct", "group"]);
    assert!(kinds.iter().all(|kind| ConversationKind::from_name(kind.name()) == Some(*kind)));
    assert_eq!((Role::from_name("king"), ConversationKind::from_name("")), (None, None));
}
