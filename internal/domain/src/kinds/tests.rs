//! Tests that the list of kinds is complete, and of the rules that several kinds share.

use std::collections::BTreeSet;

use super::*;
use crate::limits::{BODY_BYTES_MAX, MEMBERS_MAX, MEMBERS_PER_EVENT_MAX};
use crate::{
    Appended, ConversationId, ConversationKind, ConversationState, Decision, Event, Facts, Membership, RULES_NEWEST,
    RULES_TRIAL, Role, Seq, Settings, UnknownRules, apply,
};

fn of(state: &ConversationState, event: &Event, facts: &Facts) -> Result<Vec<Change>, Refusal> {
    event.action.judge(&Context { state, event, seq: Seq::try_from(5).unwrap(), facts })
}

/// The kinds of the list and the files of this folder (except the shared ones) are the same.
#[test]
fn every_file_of_a_kind_is_in_the_list() {
    const SHARED: [&str; 6] = ["context", "hash", "input", "mod", "sample", "tests"];
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/kinds")).unwrap();
    let files: BTreeSet<String> = folder
        .map(|file| file.unwrap().file_name().into_string().unwrap().trim_end_matches(".rs").to_owned())
        .filter(|name| !SHARED.contains(&name.as_str()))
        .collect();
    assert_eq!(files, Kind::ALL.iter().map(|kind| kind.name().to_owned()).collect());
    assert_eq!(Kind::ALL.into_iter().collect::<BTreeSet<_>>().len(), Kind::ALL.len());
}

#[test]
fn samples_are_of_their_kind_and_fine_by_themselves() {
    for kind in Kind::ALL {
        assert!(!kind.samples().is_empty(), "{kind:?}");
        for sample in kind.samples() {
            assert_eq!(sample.kind(), kind);
            assert_eq!(sample.check(user(0)), Ok(()), "{sample:?}");
            assert!(format!("{sample:?}").starts_with(&format!("{kind:?}")));
        }
    }
}

/// Add every new kind here, with whether it is for members only.
#[test]
fn strangers_can_open_a_conversation_and_nothing_else() {
    for sample in Action::samples() {
        for state in [ConversationState::default(), group(3)] {
            let event = Event { author: user(77), ..event(RULES_NEWEST, sample.clone()) };
            let judged = of(&state, &event, &Facts::default());
            match sample.kind() {
                Kind::Create => assert_ne!(judged, Err(Refusal::NotMember)),
                _ => assert_eq!(judged, Err(Refusal::NotMember), "{sample:?}"),
            }
        }
    }
}

/// Payload hashes are stored in id rows: a change of the encoding would turn old retries into conflicts. Add
/// lines, never change one.
#[test]
fn the_hash_of_every_kind_is_pinned() {
    let hex = |hash: PayloadHash| hash.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hashes: Vec<(Kind, String)> =
        Action::samples().iter().map(|action| (action.kind(), hex(action.payload_hash()))).collect();
    let pinned: Vec<(Kind, String)> = PINNED.iter().map(|(kind, hash)| (*kind, (*hash).to_owned())).collect();
    assert_eq!(hashes, pinned);
    assert_eq!(hashes.iter().map(|(_, hash)| hash).collect::<BTreeSet<_>>().len(), hashes.len());
    let hello = Action::SendMessage(SendMessage { body: "hello".into(), reply_to: None, thread: None });
    assert_eq!(hex(hello.payload_hash()), "26c252e09fde48cb287ebd1a4d17f7f6");
    let removal = Action::RemoveReaction(RemoveReaction { target: sample::target(), emoji: None });
    assert_eq!(hex(removal.payload_hash()), "b52d199742e9b19eb90c8f726031738a", "of records before version 3");
}

const PINNED: [(Kind, &str); 20] = [
    (Kind::Create, "f41a5e1f69b49dee465903c12b96782f"),
    (Kind::Create, "c15d3bde4a17e28d7770e4dc70afb8ea"),
    (Kind::AddMembers, "930170b94a16f427d3368745e0cfceb2"),
    (Kind::RemoveMember, "1f7db5cf27c75f7237c0401678f4e4cc"),
    (Kind::Leave, "69d1d92ce887dc169877fa7f82577a3c"),
    (Kind::ChangeRole, "268457ed14a446b4e837b1fede76bfbc"),
    (Kind::ChangeTitle, "885b3c773d3df945a08e58b9433a5cf6"),
    (Kind::SendMessage, "b28ab970b5e8536fc947e383db6ff7fd"),
    (Kind::SendMessage, "ce9ca0a65902c2aeb2276cc6d64befa2"),
    (Kind::SendMessage, "9b61d59986ab3d2cd1697144045fbcdc"),
    (Kind::SendMessage, "f7e0391ba4911341a91e79fe0dced40e"),
    (Kind::SendMessage, "080ed3b0685189e25d641f905675a424"),
    (Kind::EditMessage, "65cb2bb68084b5b53b9a78fd6424e787"),
    (Kind::EditMessage, "60ad610484aa27cfb25f3bf94a33ca6a"),
    (Kind::DeleteMessage, "fecc128cf8f7e4e1cc8587687cdfa6f1"),
    (Kind::AddReaction, "55d3e19fd47202168d4f1f2a195591cf"),
    (Kind::RemoveReaction, "51f482a2f98c424091fb2bd56e0a7af9"),
    (Kind::Withdraw, "f3c2ae71ac9736c5bcf4f04a7012ba82"),
    (Kind::PinMessage, "5566e0925d8092963789b8bb90289ddf"),
    (Kind::UnpinMessage, "7ee8abdb4715774e3b03cd3e28bb5eb5"),
];

fn user(n: u64) -> UserId {
    UserId::try_from(uuid::Uuid::from_u64_pair(7, n)).unwrap()
}

fn group(members: u64) -> ConversationState {
    let membership = |n| Membership {
        role: if n == 0 { Role::Owner } else { Role::Member },
        since: Seq::default(),
        changed: Seq::default(),
    };
    ConversationState {
        settings: Some(Settings { kind: ConversationKind::Group, title: String::new() }),
        members: (0..members).map(|n| (user(n), membership(n))).collect(),
        ..ConversationState::default()
    }
}

fn event(rules: u32, action: Action) -> Event {
    let (id, author) = (CommandId::first_at(1), user(0));
    let conversation = ConversationId::group(author, id);
    Event { id, conversation, author, received_ms: 1, rules, key_id: None, looked_up: true, action }
}

#[test]
fn a_conversation_takes_so_many_members_and_no_more() {
    let add =
        |n: u64| event(1, Action::AddMembers(AddMembers { members: (0..n).map(|n| user(1_000_000 + n)).collect() }));
    let full = group(MEMBERS_MAX as u64 - 2);
    assert_eq!(of(&full, &add(3), &Facts::default()), Err(Refusal::Full));
    assert!(of(&full, &add(2), &Facts::default()).is_ok());
    assert_eq!(of(&group(1), &add(MEMBERS_PER_EVENT_MAX as u64 + 1), &Facts::default()), Err(Refusal::Invalid));
}

/// Issue 10, item 4.
#[test]
fn only_users_who_were_looked_up_become_members_from_version_2_on() {
    let blind = |rules, action| Event { looked_up: false, ..event(rules, action) };
    let add = |rules| blind(rules, Action::AddMembers(AddMembers { members: vec![user(9)] }));
    let create =
        |rules, members| blind(rules, Action::Create(Create { kind: ConversationKind::Group, title: None, members }));
    assert!(of(&group(1), &add(1), &Facts::default()).is_ok());
    assert_eq!(of(&group(1), &add(2), &Facts::default()), Err(Refusal::NoSuchUser));
    assert!(of(&group(1), &Event { looked_up: true, ..add(2) }, &Facts::default()).is_ok());
    let none = ConversationState::default();
    assert!(of(&none, &create(1, vec![user(9)]), &Facts::default()).is_ok());
    assert_eq!(of(&none, &create(2, vec![user(9)]), &Facts::default()), Err(Refusal::NoSuchUser));
    assert!(of(&none, &create(2, vec![user(0)]), &Facts::default()).is_ok(), "nobody but the author");
    let direct = Action::Create(Create { kind: ConversationKind::Direct, title: None, members: vec![user(9)] });
    let direct = Event { conversation: ConversationId::direct(user(0), user(9)), ..blind(2, direct) };
    assert_eq!(of(&none, &direct, &Facts::default()), Err(Refusal::NoSuchUser));
    // The look-up only matters for users who would join: naming existing members is refused as `Already`.
    assert_eq!(of(&group(10), &add(2), &Facts::default()), Err(Refusal::Already));
}

#[test]
fn texts_are_bounded_in_bytes() {
    let send =
        |body: String| event(1, Action::SendMessage(SendMessage { body: body.into(), reply_to: None, thread: None }));
    let state = group(1);
    assert!(of(&state, &send("x".repeat(BODY_BYTES_MAX)), &Facts::default()).is_ok());
    assert_eq!(of(&state, &send("x".repeat(BODY_BYTES_MAX + 1)), &Facts::default()), Err(Refusal::Invalid));
    assert_eq!(of(&state, &send("\n ".into()), &Facts::default()), Err(Refusal::Invalid));
}

/// Issue 10, item 11. Texts that version 1 accepted stay accepted under version 1.
#[test]
fn since_version_2_a_message_shows_something_and_a_title_does_not_deceive() {
    let state = group(1);
    let says = |rules, body: &str| {
        of(
            &state,
            &event(rules, Action::SendMessage(SendMessage { body: body.into(), reply_to: None, thread: None })),
            &Facts::default(),
        )
    };
    let names = |rules, title: &str| {
        of(&state, &event(rules, Action::ChangeTitle(ChangeTitle { title: title.into() })), &Facts::default())
    };
    for blank in ["\u{a0}", "\u{3000}", "\u{200b}", "\u{feff}", "\0", "\x0b"] {
        assert_eq!((says(2, blank), says(1, blank).is_ok()), (Err(Refusal::Invalid), true));
    }
    for title in ["\0", "a\nb", "\u{202e}x", "  "] {
        assert_eq!((names(2, title), names(1, title).is_ok()), (Err(Refusal::Invalid), true));
    }
    assert!(names(2, "caf\u{e9}").is_ok() && names(2, "") == Err(Refusal::Already));
}

/// The panic must happen in release builds, too: a counter that restarts at 0 would stay wrong for ever (issue 10,
/// section 3).
#[test]
fn counters_end_in_a_panic_and_not_at_zero() {
    let event = event(1, Action::SendMessage(SendMessage { body: "hello".into(), reply_to: None, thread: None }));
    let appended = Appended { seq: Seq::try_from(5).unwrap(), append_time_ms: 1 };
    for (slot, ordinal) in [(u64::MAX, 0), (0, u64::MAX)] {
        let state = ConversationState { slot, ordinal, ..group(1) };
        let judge = || apply(&state, &event, appended, &Facts::default(), RULES_NEWEST);
        assert!(std::panic::catch_unwind(judge).is_err(), "{slot}, {ordinal}");
    }
}

#[test]
fn rules_that_are_not_known_are_not_judged() {
    let appended = Appended { seq: Seq::try_from(5).unwrap(), append_time_ms: 1 };
    for rules in [0, RULES_NEWEST + 1, u32::MAX] {
        let judged = apply(&group(1), &event(rules, Action::Leave(Leave)), appended, &Facts::default(), RULES_NEWEST);
        assert_eq!(judged, Err(UnknownRules(rules)));
    }
}

#[test]
fn an_event_is_judged_by_its_own_rules_whoever_judges_it() {
    let appended = Appended { seq: Seq::try_from(5).unwrap(), append_time_ms: 1 };
    let add =
        |rules| Event { author: user(1), ..event(rules, Action::AddMembers(AddMembers { members: vec![user(9)] })) };
    let judged = |rules, newest| {
        apply(&group(2), &add(rules), appended, &Facts::default(), newest).map(|effects| effects.decision)
    };
    for newest in [RULES_NEWEST, RULES_TRIAL] {
        assert_eq!(judged(RULES_NEWEST, newest), Ok(Decision::Refused(Refusal::Forbidden)));
    }
    assert_eq!(judged(RULES_TRIAL, RULES_TRIAL), Ok(Decision::Accepted));
    assert_eq!(judged(RULES_TRIAL, RULES_NEWEST), Err(UnknownRules(RULES_TRIAL)));
}
