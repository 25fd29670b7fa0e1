//! The frame that an event must have caused, as JSON: derived from the event, its effects and `schemas/PROTOCOL.md`.
//!
//! It does not use the code that renders frames. It is compared field by field: a field that a later release adds is
//! no difference.

use domain::kinds::{
    AddReaction, ChangeRole, ChangeTitle, Create, DeleteMessage, EditMessage, IntoThread, Leave, PinMessage,
    RemoveMember, RemoveReaction, SendMessage, UnpinMessage, Withdraw,
};
use domain::{Action, Appended, Change, Content, Decision, Effects, Event, MessageBody, Role, Stands};
use serde_json::{Map, Value, json};

/// The fields that the event's frame must have.
///
/// With `seen`, the frame for users who may read the message that the event is about.
pub(super) fn frame_of(event: &Event, appended: Appended, effects: &Effects, seen: bool) -> Map<String, Value> {
    let mut frame = fields(json!({
        "conversation": event.conversation.to_string(),
        "seq": appended.seq.get(),
        "id": event.id.to_string(),
    }));
    frame.extend(fields(match effects.decision {
        Decision::Settled { first_seq, stands } => {
            let stands = match stands {
                Stands::Message { .. } => "message",
                Stands::Command => "command",
                Stands::Withdrawal => "withdrawal",
            };
            json!({ "type": "settled", "first_seq": first_seq.get(), "stands": stands })
        }
        Decision::Refused(refusal) => json!({ "type": "refused", "reason": refusal.name() }),
        Decision::Accepted => json!({
            "type": "event",
            "author": event.author.to_string(),
            "time": appended.append_time_ms,
        }),
    }));
    if effects.decision == Decision::Accepted {
        frame.extend(fields(what(event, effects)));
        // A withdrawal concerns its author only, so its frame has no ordinal; under version 1 of the rules it had
        // one.
        let ordinal = if event.rules < 2 || event.action != Action::Withdraw(Withdraw) {
            json!(effects.ordinal)
        } else {
            Value::Null
        };
        frame.insert("ordinal".into(), ordinal);
        if !seen {
            frame.extend(unseen(&event.action).iter().map(|field| ((*field).to_owned(), Value::Null)));
        }
    }
    frame
}

/// The fields of an accepted event's kind.
fn what(event: &Event, effects: &Effects) -> Value {
    match &event.action {
        Action::Create(Create { kind, title, .. }) => json!({
            "kind": "created",
            "conversation_kind": kind.name(),
            "title": title.as_deref().unwrap_or_default(),
            "members": texts(&effects.recipients),
        }),
        Action::AddMembers(_) => json!({ "kind": "joined", "members": texts(&joined(effects)) }),
        Action::RemoveMember(RemoveMember { user }) => json!({ "kind": "left", "user": user.to_string() }),
        Action::Leave(Leave) => {
            let owner = effects.changes.iter().find_map(|change| match change {
                Change::Member { user, role: Some(Role::Owner) } => Some(user.to_string()),
                _ => None,
            });
            json!({ "kind": "left", "user": event.author.to_string(), "owner": owner })
        }
        Action::ChangeRole(ChangeRole { user, role }) => {
            json!({ "kind": "role_changed", "user": user.to_string(), "role": role.name() })
        }
        Action::ChangeTitle(ChangeTitle { title }) => json!({ "kind": "title_changed", "title": title }),
        Action::SendMessage(message) => sent(message, effects),
        Action::EditMessage(EditMessage { target, body }) => {
            let mut edited = json!({ "kind": "edited", "target": target.to_string(), "body": body.text.reveal() });
            beside_text(body, &mut edited);
            let added = effects.changes.iter().find_map(|change| match change {
                Change::Extras { added, .. } if !added.is_empty() => Some(texts(added)),
                _ => None,
            });
            if let Some(added) = added {
                edited["mentioned"] = added.into();
            }
            let all = |change: &Change| matches!(change, Change::Extras { all: Some(true), .. });
            if effects.changes.iter().any(all) {
                edited["mentioned_all"] = true.into();
            }
            edited
        }
        Action::DeleteMessage(DeleteMessage { target }) => json!({ "kind": "deleted", "target": target.to_string() }),
        Action::AddReaction(AddReaction { target, emoji }) => {
            let kind = if event.rules < 3 { "reacted" } else { "reaction_added" };
            json!({ "kind": kind, "target": target.to_string(), "emoji": emoji })
        }
        Action::RemoveReaction(RemoveReaction { target, .. }) if event.rules < 3 => {
            json!({ "kind": "reacted", "target": target.to_string(), "emoji": "" })
        }
        Action::RemoveReaction(RemoveReaction { target, emoji }) => {
            json!({ "kind": "reaction_removed", "target": target.to_string(), "emoji": emoji })
        }
        Action::Withdraw(Withdraw) => json!({ "kind": "withdrawn" }),
        Action::PinMessage(PinMessage { target }) => json!({ "kind": "pinned", "target": target.to_string() }),
        Action::UnpinMessage(UnpinMessage { target }) => json!({ "kind": "unpinned", "target": target.to_string() }),
    }
}

fn sent(message: &SendMessage, effects: &Effects) -> Value {
    let SendMessage { body, reply_to, thread } = message;
    let mut sent = json!({ "kind": "message", "body": body.text.reveal() });
    beside_text(body, &mut sent);
    if let Some(reply) = reply_to {
        sent["reply_to"] = reply.to.to_string().into();
        if let Some(quote) = reply.quote {
            sent["quote"] = json!({ "from": quote.from, "to": quote.to });
        }
    }
    if let Some(IntoThread { root, also_in_conversation }) = thread {
        let ordinal = effects.changes.iter().find_map(|change| match change {
            Change::Thread { ordinal, .. } => Some(*ordinal),
            _ => None,
        });
        sent["thread"] = root.to_string().into();
        sent["thread_ordinal"] = ordinal.into();
        if *also_in_conversation {
            sent["also_in_conversation"] = true.into();
        }
    }
    sent
}

/// What a message says besides its text.
fn beside_text(body: &MessageBody, said: &mut Value) {
    if !body.mentions.users().is_empty() {
        said["mentions"]["users"] = texts(body.mentions.users()).into();
    }
    if body.mentions.all {
        said["mentions"]["all"] = true.into();
    }
    if let Some(custom) = &body.custom {
        said["content"] = json!({ "type": custom.kind, "data": custom.data.reveal() });
    }
}

/// The fields that users do not receive who may not read the message that the action is about.
fn unseen(action: &Action) -> &'static [&'static str] {
    match action {
        Action::EditMessage(_) => &["body", "mentions", "content", "mentioned", "mentioned_all"],
        Action::AddReaction(_) | Action::RemoveReaction(_) => &["emoji"],
        Action::Create(_)
        | Action::AddMembers(_)
        | Action::RemoveMember(_)
        | Action::Leave(_)
        | Action::ChangeRole(_)
        | Action::ChangeTitle(_)
        | Action::SendMessage(_)
        | Action::DeleteMessage(_)
        | Action::Withdraw(_)
        | Action::PinMessage(_)
        | Action::UnpinMessage(_) => &[],
    }
}

fn joined(effects: &Effects) -> Vec<domain::UserId> {
    let content = effects.changes.iter().find_map(|change| match change {
        Change::Timeline { content: Content::Joined(users), .. } => Some(users.clone()),
        _ => None,
    });
    content.unwrap_or_default()
}

fn texts(users: &[domain::UserId]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The names of the fields that differ in a delivered frame; `None` when it is no JSON object.
pub(super) fn differing(expected: &Map<String, Value>, delivered: &str) -> Option<Vec<String>> {
    let delivered: Map<String, Value> = serde_json::from_str(delivered).ok()?;
    // A missing field counts as null: an expected null means that the field must be absent.
    let wrong = expected.iter().filter(|(name, value)| delivered.get(*name).unwrap_or(&Value::Null) != *value);
    Some(wrong.map(|(name, _)| name.clone()).collect())
}
