//! What each action changes, or why it may not. Where a version of the rules differs from the one before, a line says so.
//!
//! Every function here judges by the state before the event and nothing else.

use std::collections::BTreeSet;

use super::{Change, Facts, RULES_TRIAL, Refusal};
use crate::limits::{BODY_BYTES_MAX, EMOJI_BYTES_MAX, MEMBERS_MAX, MEMBERS_PER_EVENT_MAX, TITLE_BYTES_MAX};
use crate::state::one_more;
use crate::{Action, Content, ConversationId, ConversationKind, ConversationState, Event, IdRow, Role, Settings};
use crate::{CommandId, Stands, UserId, words};

/// The version of the rules from which on members have to be looked up.
const RULES_LOOKED_UP: u32 = 2;

/// The changes of `event`, without its id row.
pub(super) fn of(state: &ConversationState, event: &Event, facts: &Facts) -> Result<Vec<Change>, Refusal> {
    let (author, target) = (event.author, facts.target.as_ref());
    match &event.action {
        // Since version 2 only of who is or was a member, or gives up a group's creation: others leave no trace.
        Action::Withdraw if event.rules < 2 || state.role(author).is_some() || facts.past => Ok(Vec::new()),
        Action::Withdraw if ConversationId::group(author, event.id) == event.conversation => Ok(Vec::new()),
        Action::Create { kind, title, members } => create(state, event, *kind, title.as_deref(), members),
        action => {
            let role = state.role(author).ok_or(Refusal::NotMember)?;
            match action {
                Action::AddMembers { members } => add_members(state, event, role, members),
                Action::RemoveMember { user } => remove_member(state, author, role, *user),
                Action::Leave => leave(state, author, role),
                Action::ChangeRole { user, role: to } => change_role(state, author, role, *user, *to),
                Action::ChangeTitle { title } => change_title(state, event.rules, role, title),
                Action::SendMessage { body, reply_to } => send_message(state, event.rules, body, *reply_to),
                Action::EditMessage { target: id, body } => {
                    text(event.rules, body, BODY_BYTES_MAX)?;
                    let (row, place) = own_message(state, event, target)?;
                    Ok(vec![Change::Body { id: *id, seq: row.seq, place, body: body.clone() }])
                }
                Action::DeleteMessage { target: id } => {
                    let (row, place) = own_message(state, event, target)?;
                    Ok(vec![Change::Deleted { id: *id, seq: row.seq, place }])
                }
                Action::AddReaction { target: id, emoji } => {
                    text(event.rules, emoji, EMOJI_BYTES_MAX)?;
                    reaction(state, event, facts, (*id, emoji))
                }
                Action::RemoveReaction { target: id } => reaction(state, event, facts, (*id, "")),
                Action::Withdraw | Action::Create { .. } => Err(Refusal::Invalid),
            }
        }
    }
}

fn create(
    state: &ConversationState,
    event: &Event,
    kind: ConversationKind,
    title: Option<&str>,
    members: &[UserId],
) -> Result<Vec<Change>, Refusal> {
    if state.settings.is_some() {
        return Err(Refusal::Exists);
    }
    let title = title.unwrap_or("");
    let others: BTreeSet<UserId> = members.iter().copied().filter(|user| *user != event.author).collect();
    if members.len() > MEMBERS_PER_EVENT_MAX {
        return Err(Refusal::Invalid);
    }
    title_fits(event.rules, title)?;
    // The id says what the conversation is: nobody can open one under another's id.
    let (id, founder) = match kind {
        ConversationKind::Direct => match (others.first(), others.len(), title) {
            (Some(other), 1, "") => (ConversationId::direct(event.author, *other), Role::Member),
            _ => return Err(Refusal::Invalid),
        },
        ConversationKind::Group => (ConversationId::group(event.author, event.id), Role::Owner),
    };
    if id != event.conversation {
        return Err(Refusal::Invalid);
    }
    if !others.is_empty() {
        looked_up(event)?;
    }
    let mut changes = vec![Change::Settings(Settings { kind, title: title.to_owned() })];
    changes.push(Change::Member { user: event.author, role: Some(founder) });
    changes.extend(others.into_iter().map(|user| Change::Member { user, role: Some(Role::Member) }));
    changes.push(entry(state, Content::Created));
    Ok(changes)
}

fn add_members(
    state: &ConversationState,
    event: &Event,
    role: Role,
    members: &[UserId],
) -> Result<Vec<Change>, Refusal> {
    if event.rules < RULES_TRIAL {
        group_admin(state, role)?
    } else {
        group(state)?
    };
    if members.is_empty() || members.len() > MEMBERS_PER_EVENT_MAX {
        return Err(Refusal::Invalid);
    }
    let joining: BTreeSet<UserId> = members.iter().copied().filter(|user| !state.members.contains_key(user)).collect();
    if joining.is_empty() {
        return Err(Refusal::Already);
    }
    looked_up(event)?;
    if state.members.len() + joining.len() > MEMBERS_MAX {
        return Err(Refusal::Full);
    }
    let mut changes: Vec<Change> =
        joining.iter().map(|user| Change::Member { user: *user, role: Some(Role::Member) }).collect();
    changes.push(entry(state, Content::Joined(joining.into_iter().collect())));
    Ok(changes)
}

/// From version 2 on, only users who the event says were looked up become members: before, anybody could be made up.
fn looked_up(event: &Event) -> Result<(), Refusal> {
    if event.rules < RULES_LOOKED_UP || event.looked_up { Ok(()) } else { Err(Refusal::NoSuchUser) }
}

fn remove_member(state: &ConversationState, author: UserId, role: Role, user: UserId) -> Result<Vec<Change>, Refusal> {
    group_admin(state, role)?;
    if user == author {
        return Err(Refusal::Invalid);
    }
    let theirs = state.role(user).ok_or(Refusal::NoSuchMember)?;
    if theirs >= role {
        return Err(Refusal::Forbidden);
    }
    Ok(vec![Change::Member { user, role: None }, entry(state, Content::Left(user))])
}

fn leave(state: &ConversationState, author: UserId, role: Role) -> Result<Vec<Change>, Refusal> {
    group(state)?;
    let mut changes = vec![Change::Member { user: author, role: None }];
    if role == Role::Owner {
        // The highest role first, then the longest standing, then the lower id: the same heir for everybody.
        let others = state.members.iter().filter(|(user, _)| **user != author);
        let heir =
            others.min_by_key(|(user, membership)| (std::cmp::Reverse(membership.role), membership.since, **user));
        changes.extend(heir.map(|(user, _)| Change::Member { user: *user, role: Some(Role::Owner) }));
    }
    changes.push(entry(state, Content::Left(author)));
    Ok(changes)
}

fn change_role(
    state: &ConversationState,
    author: UserId,
    role: Role,
    user: UserId,
    to: Role,
) -> Result<Vec<Change>, Refusal> {
    group(state)?;
    if role != Role::Owner {
        return Err(Refusal::Forbidden);
    }
    let theirs = state.role(user).ok_or(Refusal::NoSuchMember)?;
    if theirs == to {
        return Err(Refusal::Already);
    }
    if user == author {
        return Err(Refusal::Invalid); // a group has an owner: make somebody else one instead
    }
    let mut changes = vec![Change::Member { user, role: Some(to) }];
    if to == Role::Owner {
        changes.push(Change::Member { user: author, role: Some(Role::Admin) });
    }
    Ok(changes)
}

fn change_title(state: &ConversationState, rules: u32, role: Role, title: &str) -> Result<Vec<Change>, Refusal> {
    let settings = group_admin(state, role)?;
    title_fits(rules, title)?;
    if settings.title == title {
        return Err(Refusal::Already);
    }
    let settings = Settings { title: title.to_owned(), ..settings.clone() };
    Ok(vec![Change::Settings(settings), entry(state, Content::Title(title.to_owned()))])
}

fn send_message(
    state: &ConversationState,
    rules: u32,
    body: &str,
    reply_to: Option<CommandId>,
) -> Result<Vec<Change>, Refusal> {
    text(rules, body, BODY_BYTES_MAX)?;
    let content = Content::Message { body: body.to_owned(), reply_to };
    Ok(vec![Change::Timeline { place: state.place, ordinal: one_more(state.ordinal), content }])
}

fn reaction(
    state: &ConversationState,
    event: &Event,
    facts: &Facts,
    (id, emoji): (CommandId, &str),
) -> Result<Vec<Change>, Refusal> {
    let (row, place) = message(facts.target.as_ref())?;
    if hides(state, event, row) && !facts.past {
        return Err(Refusal::NoSuchMessage);
    }
    Ok(vec![Change::Reaction { id, seq: row.seq, place, emoji: emoji.to_owned() }])
}

/// A timeline entry that is no message.
fn entry(state: &ConversationState, content: Content) -> Change {
    Change::Timeline { place: state.place, ordinal: state.ordinal, content }
}

fn group(state: &ConversationState) -> Result<&Settings, Refusal> {
    state.settings.as_ref().filter(|settings| settings.kind == ConversationKind::Group).ok_or(Refusal::Forbidden)
}

fn group_admin(state: &ConversationState, role: Role) -> Result<&Settings, Refusal> {
    if role < Role::Admin { Err(Refusal::Forbidden) } else { group(state) }
}

/// The target, if it is a message that stands and is not deleted.
fn message(target: Option<&IdRow>) -> Result<(&IdRow, u64), Refusal> {
    match target {
        Some(row @ IdRow { stands: Stands::Message { place }, deleted: None, .. }) => Ok((row, *place)),
        _ => Err(Refusal::NoSuchMessage),
    }
}

fn own_message<'a>(
    state: &ConversationState,
    event: &Event,
    target: Option<&'a IdRow>,
) -> Result<(&'a IdRow, u64), Refusal> {
    let (row, place) = message(target)?;
    match row.author == event.author {
        true => Ok((row, place)),
        false if hides(state, event, row) => Err(Refusal::NoSuchMessage),
        false => Err(Refusal::NotAuthor),
    }
}

/// Whether a message of another's was said before the author's latest joining: since version 2 who may not read it is
/// not told that it is there.
fn hides(state: &ConversationState, event: &Event, row: &IdRow) -> bool {
    let joined_later = |author| state.members.get(author).is_some_and(|member| member.since > row.seq);
    event.rules >= 2 && row.author != event.author && joined_later(&event.author)
}

/// A text that says something and fits. Before version 2 anything but ASCII blanks said something.
fn text(rules: u32, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    let says = if rules < 2 { text.bytes().any(|byte| !byte.is_ascii_whitespace()) } else { words::has_visible(text) };
    if says && text.len() <= bytes_max { Ok(()) } else { Err(Refusal::Invalid) }
}

/// A title that fits and, since version 2, does not deceive. An empty one is none.
fn title_fits(rules: u32, title: &str) -> Result<(), Refusal> {
    let honest = rules < 2 || title.is_empty() || words::check_label(title).is_ok();
    if honest && title.len() <= TITLE_BYTES_MAX { Ok(()) } else { Err(Refusal::Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decision, Facts, Membership, Placed, RULES_NEWEST, Seq, UnknownRules, apply};

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
        let add = |n: u64| event(1, Action::AddMembers { members: (0..n).map(|n| user(1_000_000 + n)).collect() });
        let full = group(MEMBERS_MAX as u64 - 2);
        assert_eq!(of(&full, &add(3), &Facts::default()), Err(Refusal::Full));
        assert!(of(&full, &add(2), &Facts::default()).is_ok());
        assert_eq!(of(&group(1), &add(MEMBERS_PER_EVENT_MAX as u64 + 1), &Facts::default()), Err(Refusal::Invalid));
    }

    /// Issue 10, item 4.
    #[test]
    fn only_users_who_were_looked_up_become_members_from_version_2_on() {
        let blind = |rules, action| Event { looked_up: false, ..event(rules, action) };
        let add = |rules| blind(rules, Action::AddMembers { members: vec![user(9)] });
        let create =
            |rules, members| blind(rules, Action::Create { kind: ConversationKind::Group, title: None, members });
        assert!(of(&group(1), &add(1), &Facts::default()).is_ok());
        assert_eq!(of(&group(1), &add(2), &Facts::default()), Err(Refusal::NoSuchUser));
        assert!(of(&group(1), &Event { looked_up: true, ..add(2) }, &Facts::default()).is_ok());
        let none = ConversationState::default();
        assert!(of(&none, &create(1, vec![user(9)]), &Facts::default()).is_ok());
        assert_eq!(of(&none, &create(2, vec![user(9)]), &Facts::default()), Err(Refusal::NoSuchUser));
        assert!(of(&none, &create(2, vec![user(0)]), &Facts::default()).is_ok(), "nobody but the author");
        let direct = Action::Create { kind: ConversationKind::Direct, title: None, members: vec![user(9)] };
        let direct = Event { conversation: ConversationId::direct(user(0), user(9)), ..blind(2, direct) };
        assert_eq!(of(&none, &direct, &Facts::default()), Err(Refusal::NoSuchUser));
        // What it was looked up for does not matter: who is a member already needs no account to be told so.
        assert_eq!(of(&group(10), &add(2), &Facts::default()), Err(Refusal::Already));
    }

    #[test]
    fn texts_are_bounded_in_bytes() {
        let send = |body: String| event(1, Action::SendMessage { body, reply_to: None });
        let state = group(1);
        assert!(of(&state, &send("x".repeat(BODY_BYTES_MAX)), &Facts::default()).is_ok());
        assert_eq!(of(&state, &send("x".repeat(BODY_BYTES_MAX + 1)), &Facts::default()), Err(Refusal::Invalid));
        assert_eq!(of(&state, &send("\n ".into()), &Facts::default()), Err(Refusal::Invalid));
    }

    /// Issue 10, item 11; what version 1 took, it takes for ever.
    #[test]
    fn since_version_2_a_message_shows_something_and_a_title_does_not_deceive() {
        let state = group(1);
        let says = |rules, body: &str| {
            of(&state, &event(rules, Action::SendMessage { body: body.into(), reply_to: None }), &Facts::default())
        };
        let names = |rules, title: &str| {
            of(&state, &event(rules, Action::ChangeTitle { title: title.into() }), &Facts::default())
        };
        for blank in ["\u{a0}", "\u{3000}", "\u{200b}", "\u{feff}", "\0", "\x0b"] {
            assert_eq!((says(2, blank), says(1, blank).is_ok()), (Err(Refusal::Invalid), true));
        }
        for title in ["\0", "a\nb", "\u{202e}x", "  "] {
            assert_eq!((names(2, title), names(1, title).is_ok()), (Err(Refusal::Invalid), true));
        }
        assert!(names(2, "caf\u{e9}").is_ok() && names(2, "") == Err(Refusal::Already));
    }

    /// Release builds as well: counting on from 0 would be wrong for ever (issue 10, section 3).
    #[test]
    fn counters_end_in_a_panic_and_not_at_zero() {
        let event = event(1, Action::SendMessage { body: "hello".into(), reply_to: None });
        let placed = Placed { seq: Seq::try_from(5).unwrap(), append_time_ms: 1 };
        for (place, ordinal) in [(u64::MAX, 0), (0, u64::MAX)] {
            let state = ConversationState { place, ordinal, ..group(1) };
            let judge = || apply(&state, &event, placed, &Facts::default(), RULES_NEWEST);
            assert!(std::panic::catch_unwind(judge).is_err(), "{place}, {ordinal}");
        }
    }

    #[test]
    fn rules_that_are_not_known_are_not_judged() {
        let placed = Placed { seq: Seq::try_from(5).unwrap(), append_time_ms: 1 };
        for rules in [0, RULES_NEWEST + 1, u32::MAX] {
            let judged = apply(&group(1), &event(rules, Action::Leave), placed, &Facts::default(), RULES_NEWEST);
            assert_eq!(judged, Err(UnknownRules(rules)));
        }
    }

    #[test]
    fn an_event_is_judged_by_its_own_rules_whoever_judges_it() {
        let placed = Placed { seq: Seq::try_from(5).unwrap(), append_time_ms: 1 };
        let add = |rules| Event { author: user(1), ..event(rules, Action::AddMembers { members: vec![user(9)] }) };
        let judged = |rules, newest| {
            apply(&group(2), &add(rules), placed, &Facts::default(), newest).map(|effects| effects.decision)
        };
        for newest in [RULES_NEWEST, RULES_TRIAL] {
            assert_eq!(judged(RULES_NEWEST, newest), Ok(Decision::Refused(Refusal::Forbidden)));
        }
        assert_eq!(judged(RULES_TRIAL, RULES_TRIAL), Ok(Decision::Accepted));
        assert_eq!(judged(RULES_TRIAL, RULES_NEWEST), Err(UnknownRules(RULES_TRIAL)));
    }
}
