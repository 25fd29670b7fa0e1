//! What each action changes, or why it may not. Rules version 1; where a later one differs, a line says so.
//!
//! Every function here judges by the state before the event and nothing else.

use std::collections::BTreeSet;

use super::{Change, RULES_TRIAL, Refusal};
use crate::limits::{BODY_BYTES_MAX, EMOJI_BYTES_MAX, MEMBERS_MAX, MEMBERS_PER_EVENT_MAX, TITLE_BYTES_MAX};
use crate::{Action, Content, ConversationId, ConversationKind, ConversationState, Event, IdRow, Role, Settings};
use crate::{CommandId, Stands, UserId};

/// The changes of `event`, without its id row.
pub(super) fn of(state: &ConversationState, event: &Event, target: Option<&IdRow>) -> Result<Vec<Change>, Refusal> {
    let author = event.author;
    match &event.action {
        Action::Withdraw => Ok(Vec::new()),
        Action::Create { kind, title, members } => create(state, event, *kind, title.as_deref(), members),
        action => {
            let role = state.role(author).ok_or(Refusal::NotMember)?;
            match action {
                Action::AddMembers { members } => add_members(state, event.rules, role, members),
                Action::RemoveMember { user } => remove_member(state, author, role, *user),
                Action::Leave => leave(state, author, role),
                Action::ChangeRole { user, role: to } => change_role(state, author, role, *user, *to),
                Action::ChangeTitle { title } => change_title(state, role, title),
                Action::SendMessage { body, reply_to } => send_message(state, body, *reply_to),
                Action::EditMessage { target: id, body } => {
                    text(body, BODY_BYTES_MAX)?;
                    let (row, place) = own_message(target, author)?;
                    Ok(vec![Change::Body { id: *id, seq: row.seq, place, body: body.clone() }])
                }
                Action::DeleteMessage { target: id } => {
                    let (row, place) = own_message(target, author)?;
                    Ok(vec![Change::Deleted { id: *id, seq: row.seq, place }])
                }
                Action::AddReaction { target: id, emoji } => {
                    text(emoji, EMOJI_BYTES_MAX)?;
                    reaction(target, *id, emoji)
                }
                Action::RemoveReaction { target: id } => reaction(target, *id, ""),
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
    if title.len() > TITLE_BYTES_MAX || members.len() > MEMBERS_PER_EVENT_MAX {
        return Err(Refusal::Invalid);
    }
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
    let mut changes = vec![Change::Settings(Settings { kind, title: title.to_owned() })];
    changes.push(Change::Member { user: event.author, role: Some(founder) });
    changes.extend(others.into_iter().map(|user| Change::Member { user, role: Some(Role::Member) }));
    changes.push(entry(state, Content::Created));
    Ok(changes)
}

fn add_members(state: &ConversationState, rules: u32, role: Role, members: &[UserId]) -> Result<Vec<Change>, Refusal> {
    if rules < RULES_TRIAL {
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
    if state.members.len() + joining.len() > MEMBERS_MAX {
        return Err(Refusal::Full);
    }
    let mut changes: Vec<Change> =
        joining.iter().map(|user| Change::Member { user: *user, role: Some(Role::Member) }).collect();
    changes.push(entry(state, Content::Joined(joining.into_iter().collect())));
    Ok(changes)
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

fn change_title(state: &ConversationState, role: Role, title: &str) -> Result<Vec<Change>, Refusal> {
    let settings = group_admin(state, role)?;
    if title.len() > TITLE_BYTES_MAX {
        return Err(Refusal::Invalid);
    }
    if settings.title == title {
        return Err(Refusal::Already);
    }
    let settings = Settings { title: title.to_owned(), ..settings.clone() };
    Ok(vec![Change::Settings(settings), entry(state, Content::Title(title.to_owned()))])
}

fn send_message(state: &ConversationState, body: &str, reply_to: Option<CommandId>) -> Result<Vec<Change>, Refusal> {
    text(body, BODY_BYTES_MAX)?;
    let content = Content::Message { body: body.to_owned(), reply_to };
    Ok(vec![Change::Timeline { place: state.place, ordinal: state.ordinal + 1, content }])
}

fn reaction(target: Option<&IdRow>, id: CommandId, emoji: &str) -> Result<Vec<Change>, Refusal> {
    let (row, place) = message(target)?;
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

fn own_message(target: Option<&IdRow>, author: UserId) -> Result<(&IdRow, u64), Refusal> {
    let (row, place) = message(target)?;
    if row.author == author { Ok((row, place)) } else { Err(Refusal::NotAuthor) }
}

/// A text that says something and fits.
fn text(text: &str, bytes_max: usize) -> Result<(), Refusal> {
    // ASCII only: Unicode's idea of white space changes between releases, and a decision must not.
    let blank = text.bytes().all(|byte| byte.is_ascii_whitespace());
    if blank || text.len() > bytes_max { Err(Refusal::Invalid) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decision, Facts, Membership, Placed, RULES_NEWEST, Seq, UnknownRules, apply};

    fn user(n: u64) -> UserId {
        UserId::try_from(uuid::Uuid::from_u64_pair(7, n)).unwrap()
    }

    fn group(members: u64) -> ConversationState {
        let membership =
            |n| Membership { role: if n == 0 { Role::Owner } else { Role::Member }, since: Seq::default() };
        ConversationState {
            settings: Some(Settings { kind: ConversationKind::Group, title: String::new() }),
            members: (0..members).map(|n| (user(n), membership(n))).collect(),
            ..ConversationState::default()
        }
    }

    fn event(rules: u32, action: Action) -> Event {
        let (id, author) = (CommandId::first_at(1), user(0));
        let conversation = ConversationId::group(author, id);
        Event { id, conversation, author, received_ms: 1, rules, key_id: None, action }
    }

    #[test]
    fn a_conversation_takes_so_many_members_and_no_more() {
        let add = |n: u64| event(1, Action::AddMembers { members: (0..n).map(|n| user(1_000_000 + n)).collect() });
        let full = group(MEMBERS_MAX as u64 - 2);
        assert_eq!(of(&full, &add(3), None), Err(Refusal::Full));
        assert!(of(&full, &add(2), None).is_ok());
        assert_eq!(of(&group(1), &add(MEMBERS_PER_EVENT_MAX as u64 + 1), None), Err(Refusal::Invalid));
    }

    #[test]
    fn texts_are_bounded_in_bytes() {
        let send = |body: String| event(1, Action::SendMessage { body, reply_to: None });
        let state = group(1);
        assert!(of(&state, &send("x".repeat(BODY_BYTES_MAX)), None).is_ok());
        assert_eq!(of(&state, &send("x".repeat(BODY_BYTES_MAX + 1)), None), Err(Refusal::Invalid));
        assert_eq!(of(&state, &send("\n ".into()), None), Err(Refusal::Invalid));
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
