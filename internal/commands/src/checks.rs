//! What can be told of a command by itself. The reducer judges the same at log order; here it is a sentence.

use api::ApiError;
use domain::limits::{BODY_BYTES_MAX, EMOJI_BYTES_MAX, MEMBERS_PER_EVENT_MAX, STAMP_AHEAD_MS_MAX, TITLE_BYTES_MAX};
use domain::{Action, CommandId, ConversationKind, UserId, words};
use protocol::ErrorCode;

/// Refuses what the reducer is sure to refuse.
///
/// # Errors
/// `invalid` or `id_from_future`, with what was wrong and what was expected.
pub(crate) fn check(id: CommandId, author: UserId, action: &Action, now_ms: i64) -> Result<(), ApiError> {
    if id.stamp_ms() > now_ms.saturating_add(STAMP_AHEAD_MS_MAX) {
        let ahead_s = id.stamp_ms().saturating_sub(now_ms) / 1000;
        let message = format!("the id is stamped {ahead_s} s ahead of the server: set the device's clock");
        return Err(ApiError::new(ErrorCode::IdFromFuture, message));
    }
    let checked = match action {
        Action::Create { kind, title, members } => create(*kind, author, title.as_deref(), members),
        Action::AddMembers { members } if members.is_empty() => Err("name at least one member to add".to_owned()),
        Action::AddMembers { members } => member_count(members),
        Action::RemoveMember { user } if *user == author => {
            Err("nobody removes themselves: leave the conversation instead".to_owned())
        }
        Action::ChangeTitle { title } => name("title", title, TITLE_BYTES_MAX),
        Action::SendMessage { body, .. } | Action::EditMessage { body, .. } => text("body", body, BODY_BYTES_MAX),
        Action::AddReaction { emoji, .. } => text("emoji", emoji, EMOJI_BYTES_MAX),
        Action::RemoveMember { .. }
        | Action::Leave
        | Action::ChangeRole { .. }
        | Action::DeleteMessage { .. }
        | Action::RemoveReaction { .. }
        | Action::Withdraw => Ok(()),
    };
    checked.map_err(|message| ApiError::new(ErrorCode::Invalid, message))
}

fn create(kind: ConversationKind, author: UserId, title: Option<&str>, members: &[UserId]) -> Result<(), String> {
    member_count(members)?;
    let title = title.unwrap_or("");
    match kind {
        ConversationKind::Group => name("title", title, TITLE_BYTES_MAX),
        ConversationKind::Direct if !title.is_empty() => Err("a direct conversation has no title".to_owned()),
        ConversationKind::Direct => {
            let mut others = members.iter().filter(|user| **user != author);
            let first = others.next();
            if first.is_some() && others.all(|user| Some(user) == first) {
                Ok(())
            } else {
                Err("a direct conversation has exactly one other member".to_owned())
            }
        }
    }
}

fn member_count(members: &[UserId]) -> Result<(), String> {
    if members.len() <= MEMBERS_PER_EVENT_MAX {
        return Ok(());
    }
    Err(format!(
        "{} members at once; at most {MEMBERS_PER_EVENT_MAX}: add the others with further commands",
        members.len()
    ))
}

fn name(what: &str, name: &str, bytes_max: usize) -> Result<(), String> {
    if !name.is_empty() {
        words::check_label(name).map_err(|fault| format!("the {what} {}", fault.words()))?;
    }
    fits(what, name, bytes_max)
}

fn text(name: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    if !words::has_visible(text) {
        return Err(format!("the {name} is empty: it needs at least one visible character"));
    }
    fits(name, text, bytes_max)
}

fn fits(name: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(format!("the {name} has {} bytes (UTF-8); at most {bytes_max}", text.len()))
}

#[cfg(test)]
mod tests {
    use domain::{ConversationId, ConversationState, Decision, Event, Facts, Placed, RULES_NEWEST, Refusal, Role, Seq};

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
    }

    /// What the reducer decides where membership and role are no obstacle.
    fn judged(id: CommandId, author: UserId, action: &Action) -> Decision {
        let mut state = ConversationState::default();
        let conversation = match action {
            Action::Create { kind: ConversationKind::Direct, members, .. } => {
                ConversationId::direct(author, *members.iter().find(|user| **user != author).unwrap())
            }
            _ => ConversationId::group(author, id),
        };
        if !matches!(action, Action::Create { .. }) {
            let create = Action::Create { kind: ConversationKind::Group, title: None, members: vec![user(2)] };
            let placed = Placed { seq: Seq::new(0, 1).unwrap(), append_time_ms: 1000 };
            let event = Event {
                id,
                conversation,
                author,
                received_ms: 0,
                rules: RULES_NEWEST,
                key_id: None,
                looked_up: true,
                action: create,
            };
            let effects = domain::apply(&state, &event, placed, &Facts::default(), RULES_NEWEST).unwrap();
            state.absorb(placed.seq, &effects.changes);
            assert_eq!(state.role(author), Some(Role::Owner));
        }
        let placed = Placed { seq: Seq::new(0, 2).unwrap(), append_time_ms: 1000 };
        let event = Event {
            id,
            conversation,
            author,
            received_ms: 0,
            rules: RULES_NEWEST,
            key_id: None,
            looked_up: true,
            action: action.clone(),
        };
        domain::apply(&state, &event, placed, &Facts::default(), RULES_NEWEST).unwrap().decision
    }

    #[test]
    fn what_is_refused_here_the_reducer_refuses_too() {
        let (id, author) = (CommandId::first_at(1000), user(1));
        let long = |bytes: usize| "x".repeat(bytes);
        let many: Vec<UserId> = (10..).take(MEMBERS_PER_EVENT_MAX + 1).map(user).collect();
        let create = |kind, title: Option<&str>, members: Vec<UserId>| Action::Create {
            kind,
            title: title.map(str::to_owned),
            members,
        };
        for action in [
            Action::SendMessage { body: String::new(), reply_to: None },
            Action::SendMessage { body: " \n\t".into(), reply_to: None },
            Action::SendMessage { body: "\u{200b}\u{a0}\0".into(), reply_to: None },
            Action::EditMessage { target: id, body: "\u{feff}".into() },
            Action::AddReaction { target: id, emoji: "\u{fe0f}".into() },
            Action::ChangeTitle { title: "a\nb".into() },
            Action::ChangeTitle { title: "\u{202e}x".into() },
            create(ConversationKind::Group, Some("  "), vec![user(2)]),
            Action::SendMessage { body: long(BODY_BYTES_MAX + 1), reply_to: None },
            Action::EditMessage { target: id, body: long(BODY_BYTES_MAX + 1) },
            Action::AddReaction { target: id, emoji: String::new() },
            Action::AddReaction { target: id, emoji: long(EMOJI_BYTES_MAX + 1) },
            Action::ChangeTitle { title: long(TITLE_BYTES_MAX + 1) },
            Action::AddMembers { members: Vec::new() },
            Action::AddMembers { members: many.clone() },
            Action::RemoveMember { user: author },
            create(ConversationKind::Group, None, many),
            create(ConversationKind::Group, Some(&long(TITLE_BYTES_MAX + 1)), vec![user(2)]),
            create(ConversationKind::Direct, Some("title"), vec![user(2)]),
            create(ConversationKind::Direct, None, vec![user(2), user(3)]),
        ] {
            let refused = check(id, author, &action, 1000).unwrap_err();
            assert_eq!(refused.code, ErrorCode::Invalid, "{action:?}: {}", refused.message);
            assert_eq!(judged(id, author, &action), Decision::Refused(Refusal::Invalid), "{action:?}");
        }
    }

    #[test]
    fn what_just_fits_passes() {
        let (id, author) = (CommandId::first_at(1000), user(1));
        for action in [
            Action::SendMessage { body: "x".repeat(BODY_BYTES_MAX), reply_to: None },
            Action::ChangeTitle { title: "x".repeat(TITLE_BYTES_MAX) },
            Action::AddMembers { members: (10..).take(MEMBERS_PER_EVENT_MAX).map(user).collect() },
            Action::Create { kind: ConversationKind::Direct, title: None, members: vec![author, user(2), user(2)] },
            Action::Create { kind: ConversationKind::Group, title: None, members: Vec::new() },
        ] {
            assert!(check(id, author, &action, 1000).is_ok(), "{action:?}");
            assert_eq!(judged(id, author, &action), Decision::Accepted, "{action:?}");
        }
    }

    #[test]
    fn an_id_from_the_future_is_refused_and_one_of_the_same_minute_is_not() {
        let (author, action) = (user(1), Action::Leave);
        let id = CommandId::first_at(1000 + STAMP_AHEAD_MS_MAX);
        assert!(check(id, author, &action, 1000).is_ok());
        assert_eq!(check(id, author, &action, 999).unwrap_err().code, ErrorCode::IdFromFuture);
    }
}
