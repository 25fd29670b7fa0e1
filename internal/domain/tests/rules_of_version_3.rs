//! What version 3 of the rules changed, written by hand as `rules.rs` is.

#![allow(clippy::unwrap_used)]

mod room;

use domain::kinds::{Leave, RemoveReaction};
use domain::limits::EMOJIS_PER_MESSAGE_MAX;
use domain::{Action, Change, Decision, Effects, ReactionChange, Refusal, Role};
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
