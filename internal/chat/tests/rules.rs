//! What version 2 of the rules changed, from outside: the recipients of events, what counts as unread, and the outcome
//! of refused commands (issue 10, items 3, 8, 9 and 13).
#![allow(clippy::unwrap_used)]

mod world;

use domain::{CommandId, ConversationId, Seq};
use protocol::ConversationBody;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use world::{User, World};

async fn shown(user: &User<'_>, c: ConversationId) -> ConversationBody {
    serde_json::from_value(user.get(&format!("/v1/conversations/{c}")).await.body).unwrap()
}

async fn listed(user: &User<'_>) -> Value {
    user.get("/v1/conversations").await.body["conversations"].clone()
}

async fn outcome(user: &User<'_>, c: ConversationId, id: CommandId) -> Value {
    user.get(&format!("/v1/conversations/{c}/outcome/{id}")).await.body
}

/// Removes the user; returns the seq of the removal.
async fn remove(world: &World, by: &User<'_>, c: ConversationId, user: &User<'_>) -> Seq {
    let id = world.id();
    let path = format!("/v1/conversations/{c}/members/{}?id={id}", user.id);
    assert_eq!(by.call(Method::DELETE, &path, Value::Null).await.status, StatusCode::ACCEPTED);
    by.seq_of(c, id).await
}

async fn id_of_last(user: &User<'_>, c: ConversationId) -> String {
    let page = user.history(c, "?limit=1").await.body;
    page["entries"][0]["id"].as_str().unwrap().to_owned()
}

/// A creation whose outcome is unknown may take effect at any time: after an answer that it is withdrawn, there must be
/// no group.
#[tokio::test]
async fn a_group_that_was_given_up_does_not_come_to_be() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let id = world.id();
    let c = ConversationId::group(ann.id, id);
    let path = format!("/v1/conversations/{c}/withdraw");
    let taken = ann.call(Method::POST, &path, json!({ "id": id })).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.body);
    ann.seq_of(c, id).await;
    // No other user can take that id, or learns of it.
    bob.call(Method::POST, &path, json!({ "id": id })).await.refused("not_member");

    let late = json!({ "id": id, "kind": "group", "title": "late", "members": [bob.id] });
    assert_eq!(ann.call(Method::POST, "/v1/conversations", late).await.status, StatusCode::ACCEPTED);
    let told = outcome(&ann, c, id).await;
    assert_eq!((&told["outcome"], &told["stands"]), (&json!("settled"), &json!("withdrawal")));
    for user in [&ann, &bob] {
        user.get(&format!("/v1/conversations/{c}")).await.refused("not_member");
        assert_eq!((listed(user).await, &user.get("/v1/sync").await.body["conversations"]), (json!([]), &json!([])));
    }
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_stranger_moves_nothing_and_a_members_withdrawal_neither() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob, eve) = (world.user(&service, 1), world.user(&service, 2), world.user(&service, 3));
    let c = ann.group(&[bob.id]).await;
    ann.say(c, "hi").await;
    let before = (listed(&ann).await, shown(&ann, c).await);
    let path = format!("/v1/conversations/{c}/withdraw");
    let (id, refused) = eve.command(Method::POST, &path, json!({})).await;
    refused.refused("not_member");
    assert_eq!(outcome(&eve, c, id).await["outcome"], "absent");
    let (id, taken) = bob.command(Method::POST, &path, json!({})).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED);
    bob.seq_of(c, id).await;
    assert_eq!((listed(&ann).await, shown(&ann, c).await), before);
    let head = ann.get("/v1/sync").await.body["conversations"][0]["head"].clone();
    assert_eq!(head, json!(before.1.head));
    // A withdrawal is final, and the outcome reports it.
    assert_eq!(outcome(&bob, c, id).await["stands"], "withdrawal");
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn who_has_left_is_not_told_what_came_afterwards() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    let said = ann.say(c, "hi").await;
    let mark = format!("/v1/conversations/{c}/mark");
    assert_eq!(bob.call(Method::PUT, &mark, json!({ "seq": said })).await.body["seq"], json!(said));
    let left = remove(&world, &ann, c, &bob).await;
    let later = ann.say(c, "about bob").await;
    assert_eq!(bob.history(c, "").await.body["head"], json!(left));
    assert_eq!(bob.get("/v1/sync").await.body["conversations"][0]["head"], json!(left));
    bob.call(Method::PUT, &mark, json!({ "seq": later })).await.refused("not_member");
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_message_from_before_the_joining_is_no_target() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob, cat) = (world.user(&service, 1), world.user(&service, 2), world.user(&service, 3));
    let c = ann.group(&[bob.id]).await;
    ann.say(c, "before").await;
    let message = id_of_last(&ann, c).await;
    remove(&world, &ann, c, &bob).await;
    ann.done(c, Method::POST, "members", json!({ "members": [bob.id, cat.id] })).await;
    let react = |message: &str| format!("/v1/conversations/{c}/messages/{message}/reaction");
    let (id, refused) = cat.command(Method::PUT, &react(&message), json!({ "emoji": "x" })).await;
    let (_, of_none) = cat.command(Method::PUT, &react(&world.id().to_string()), json!({ "emoji": "x" })).await;
    assert_eq!(refused.body["message"], of_none.body["message"], "as if it were not there");
    refused.refused("no_such_message");
    assert_eq!(outcome(&cat, c, id).await["outcome"], "absent");
    // Bob was a member when it was said, and may read it; so the list has it as his last message.
    bob.done(c, Method::PUT, &format!("messages/{message}/reaction"), json!({ "emoji": "x" })).await;
    assert_eq!(shown(&bob, c).await.last_message.unwrap().body, Some("before".into()));
    assert_eq!(shown(&cat, c).await.last_message, None);
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn unread_are_messages_of_others_that_stand_behind_what_was_read_or_answered() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    let mut ids = Vec::new();
    for text in ["0", "1", "2"] {
        ann.say(c, text).await;
        ids.push(id_of_last(&ann, c).await);
    }
    assert_eq!((shown(&ann, c).await.unread, shown(&bob, c).await.unread), (0, 3));
    assert_eq!(listed(&bob).await[0]["unread"], 3);
    let delete = async |id: &str| {
        let command = world.id();
        let path = format!("/v1/conversations/{c}/messages/{id}?id={command}");
        assert_eq!(ann.call(Method::DELETE, &path, Value::Null).await.status, StatusCode::ACCEPTED);
        ann.seq_of(c, command).await;
    };
    delete(&ids[1]).await;
    assert_eq!((shown(&bob, c).await.unread, &listed(&bob).await[0]["unread"]), (2, &json!(2)));
    bob.say(c, "answer").await;
    assert_eq!((shown(&bob, c).await.unread, shown(&ann, c).await.unread), (0, 1));
    ann.say(c, "3").await;
    delete(&ids[0]).await;
    assert_eq!(
        (shown(&bob, c).await.unread, shown(&ann, c).await.unread),
        (1, 0),
        "what was read does not count twice"
    );
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_refused_command_has_an_outcome_and_members_say_what_changed_them() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    ann.say(c, "hi").await;
    let message = id_of_last(&ann, c).await;
    let path = format!("/v1/conversations/{c}/messages/{message}");
    let (id, taken) = bob.command(Method::PUT, &path, json!({ "body": "mine" })).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED);
    let told = outcome(&bob, c, id).await;
    assert_eq!((&told["outcome"], &told["code"]), (&json!("refused"), &json!("not_author")));
    assert!(told["message"].as_str().unwrap().contains("another author") && told["seq"].is_u64(), "{told}");
    assert_eq!(outcome(&ann, c, id).await["outcome"], "absent", "nobody is told of another's");

    let members = || async { ann.get(&format!("/v1/conversations/{c}/members")).await.body["members"].clone() };
    let created = members().await[1]["joined"].clone();
    let promoted = ann.done(c, Method::PUT, &format!("members/{}/role", bob.id), json!({ "role": "admin" })).await;
    let row = members().await[1].clone();
    assert_eq!((&row["role"], &row["joined"], &row["changed"]), (&json!("admin"), &created, &json!(promoted)));

    // A deleted message has lost its reactions.
    bob.done(c, Method::PUT, &format!("messages/{message}/reaction"), json!({ "emoji": "x" })).await;
    let deleted = world.id();
    ann.call(Method::DELETE, &format!("{path}?id={deleted}"), Value::Null).await;
    ann.seq_of(c, deleted).await;
    let entry = ann.history(c, "?limit=1").await.body["entries"][0].clone();
    assert_eq!((&entry["deleted"], entry.get("reactions")), (&json!(true), None));
    service.stop().await;
    storage.stop().await;
}
