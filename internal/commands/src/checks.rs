//! Checks of a command that need no state. The reducer makes the same checks; here a failure is a sentence for the
//! client.

use api::ApiError;
use domain::limits::STAMP_AHEAD_MS_MAX;
use domain::{Action, CommandId, UserId};
use protocol::ErrorCode;

/// Refuses a command that the reducer would refuse in any state.
///
/// # Errors
/// `invalid` or `id_from_future`, with a sentence that says what was wrong and what was expected.
pub(crate) fn check(id: CommandId, author: UserId, action: &Action, now_ms: i64) -> Result<(), ApiError> {
    if id.stamp_ms() > now_ms.saturating_add(STAMP_AHEAD_MS_MAX) {
        let ahead_s = id.stamp_ms().saturating_sub(now_ms) / 1000;
        let message = format!("the id is stamped {ahead_s} s ahead of the server: set the device's clock");
        return Err(ApiError::new(ErrorCode::IdFromFuture, message));
    }
    action.check(author).map_err(invalid)?;
    // An empty title is none.
    let title = action.about().title.filter(|title| !title.is_empty());
    title.map_or(Ok(()), api::check_label).map_err(|fault| invalid(format!("the title {fault}")))
}

fn invalid(message: String) -> ApiError {
    ApiError::new(ErrorCode::Invalid, message)
}

#[cfg(test)]
mod tests {
    use domain::kinds::{AddMembers, AddReaction, ChangeTitle, Create, EditMessage, Leave, RemoveMember, SendMessage};
    use domain::limits::{BODY_BYTES_MAX, EMOJI_BYTES_MAX, MEMBERS_PER_EVENT_MAX, TITLE_BYTES_MAX};
    use domain::{
        Appended, ConversationId, ConversationKind, ConversationState, Decision, Event, Facts, RULES_NEWEST, Refusal,
        Role, Seq,
    };

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
    }

    /// The reducer's decision where membership and role allow the action.
    fn judged(id: CommandId, author: UserId, action: &Action) -> Decision {
        let mut state = ConversationState::default();
        let conversation = match action {
            Action::Create(Create { kind: ConversationKind::Direct, members, .. }) => {
                ConversationId::direct(author, *members.iter().find(|user| **user != author).unwrap())
            }
            _ => ConversationId::group(author, id),
        };
        if !matches!(action, Action::Create(_)) {
            let create = Action::Create(Create { kind: ConversationKind::Group, title: None, members: vec![user(2)] });
            let appended = Appended { seq: Seq::new(0, 1).unwrap(), append_time_ms: 1000 };
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
            let effects = domain::apply(&state, &event, appended, &Facts::default(), RULES_NEWEST).unwrap();
            state.absorb(appended.seq, &effects.changes);
            assert_eq!(state.role(author), Some(Role::Owner));
        }
        let appended = Appended { seq: Seq::new(0, 2).unwrap(), append_time_ms: 1000 };
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
        domain::apply(&state, &event, appended, &Facts::default(), RULES_NEWEST).unwrap().decision
    }

    #[test]
    fn what_is_refused_here_the_reducer_refuses_too() {
        let (id, author) = (CommandId::first_at(1000), user(1));
        let long = |bytes: usize| "x".repeat(bytes);
        let many: Vec<UserId> = (10..).take(MEMBERS_PER_EVENT_MAX + 1).map(user).collect();
        let create = |kind, title: Option<&str>, members: Vec<UserId>| {
            Action::Create(Create { kind, title: title.map(str::to_owned), members })
        };
        for action in [
            Action::SendMessage(SendMessage { body: "".into(), reply_to: None, thread: None }),
            Action::SendMessage(SendMessage { body: " \n\t".into(), reply_to: None, thread: None }),
            Action::SendMessage(SendMessage { body: "\u{200b}\u{a0}\0".into(), reply_to: None, thread: None }),
            Action::EditMessage(EditMessage { target: id, body: "\u{feff}".into() }),
            Action::AddReaction(AddReaction { target: id, emoji: "\u{fe0f}".into() }),
            Action::ChangeTitle(ChangeTitle { title: "a\nb".into() }),
            Action::ChangeTitle(ChangeTitle { title: "\u{202e}x".into() }),
            create(ConversationKind::Group, Some("  "), vec![user(2)]),
            Action::SendMessage(SendMessage { body: long(BODY_BYTES_MAX + 1).into(), reply_to: None, thread: None }),
            Action::EditMessage(EditMessage { target: id, body: long(BODY_BYTES_MAX + 1).into() }),
            Action::AddReaction(AddReaction { target: id, emoji: String::new() }),
            Action::AddReaction(AddReaction { target: id, emoji: long(EMOJI_BYTES_MAX + 1) }),
            Action::ChangeTitle(ChangeTitle { title: long(TITLE_BYTES_MAX + 1) }),
            Action::AddMembers(AddMembers { members: Vec::new() }),
            Action::AddMembers(AddMembers { members: many.clone() }),
            Action::RemoveMember(RemoveMember { user: author }),
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
            Action::SendMessage(SendMessage { body: "x".repeat(BODY_BYTES_MAX).into(), reply_to: None, thread: None }),
            Action::ChangeTitle(ChangeTitle { title: "x".repeat(TITLE_BYTES_MAX) }),
            Action::AddMembers(AddMembers { members: (10..).take(MEMBERS_PER_EVENT_MAX).map(user).collect() }),
            Action::Create(Create {
                kind: ConversationKind::Direct,
                title: None,
                members: vec![author, user(2), user(2)],
            }),
            Action::Create(Create { kind: ConversationKind::Group, title: None, members: Vec::new() }),
        ] {
            assert!(check(id, author, &action, 1000).is_ok(), "{action:?}");
            assert_eq!(judged(id, author, &action), Decision::Accepted, "{action:?}");
        }
    }

    #[test]
    fn an_id_from_the_future_is_refused_and_one_of_the_same_minute_is_not() {
        let (author, action) = (user(1), Action::Leave(Leave));
        let id = CommandId::first_at(1000 + STAMP_AHEAD_MS_MAX);
        assert!(check(id, author, &action, 1000).is_ok());
        assert_eq!(check(id, author, &action, 999).unwrap_err().code, ErrorCode::IdFromFuture);
    }
}
