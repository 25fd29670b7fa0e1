//! The document and the code name the same routes. Every other test checks that answers are as described.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use world::{World, contract};

/// The tag of this service's operations in the document.
const TAG: &str = "conversations";

#[test]
fn every_route_is_described_and_nothing_else() {
    let mut described = BTreeSet::new();
    for (path, methods) in contract::document()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["tags"].as_array().unwrap().iter().any(|tag| tag == TAG) {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    let served: BTreeSet<_> =
        chat::route_table().into_iter().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(described, served);
}

/// Issue 11, line a: what an entry shows is described. The checks of answers let a field pass that the document lacks.
#[test]
fn every_field_of_an_entry_is_described() {
    let id = domain::CommandId::first_at(1);
    let user = domain::UserId::try_from(uuid::Uuid::from_u128(1)).unwrap();
    let full = protocol::EntryBody {
        seq: domain::Seq::default(),
        id,
        author: user,
        time: 1,
        kind: "message".to_owned(),
        ordinal: 1,
        changed: domain::Seq::default(),
        body: Some("hi".into()),
        reply_to: Some(id),
        quote: Some(protocol::QuoteBody { from: 0, to: 1 }),
        mentions: Some(protocol::MentionsBody { users: vec![user], all: true }),
        content: Some(protocol::ContentBody { kind: "a.b".to_owned(), data: "1".into() }),
        thread: Some(id),
        thread_ordinal: Some(1),
        also_in_conversation: true,
        users: vec![user],
        edited: Some(1),
        deleted: true,
        deleted_by: Some(user),
        reactions: vec![protocol::ReactionBody { user, emoji: "!".to_owned() }],
        replies: Some(protocol::RepliesBody { messages: 1, last: domain::Seq::default(), last_time: 1 }),
        withheld: true,
    };
    let text = format!("{full:#?}");
    let full = serde_json::to_value(full).unwrap();
    let shown: BTreeSet<&str> = full.as_object().unwrap().keys().map(String::as_str).collect();
    let fields = text.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": ")).map(|(name, _)| name);
    assert_eq!(shown, fields.filter(|name| !name.starts_with(' ')).collect(), "each field has a value that is sent");
    let schemas = &contract::document()["components"]["schemas"];
    let names =
        |fields: &'static Value| fields.as_object().into_iter().flat_map(|fields| fields.keys().map(String::as_str));
    let mut described: BTreeSet<&str> = names(&schemas["EntryFields"]["properties"]).collect();
    for kind in schemas["Entry"]["oneOf"].as_array().unwrap() {
        let name = kind["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        for part in schemas[name]["allOf"].as_array().unwrap() {
            described.extend(names(&part["properties"]));
        }
    }
    assert_eq!(shown, described);
}

/// Issue 10, item 15: one field of a union says which of its members a value is, and each member requires its own
/// fields.
#[test]
fn what_is_no_member_of_a_union_is_caught() {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let conversation = "01890a5d-ac96-874b-bcce-b302099a8057";
    let outcome = format!("/v1/conversations/{conversation}/outcome/{id}");
    let message = format!("/v1/conversations/{conversation}/messages/{id}");
    let entry = |more: Value| {
        let mut entry = json!({"seq": 5, "id": id, "author": id, "time": 1, "ordinal": 1, "changed": 5});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let good = [
        (&outcome, json!({"id": id, "outcome": "absent"})),
        (&outcome, json!({"id": id, "outcome": "settled", "seq": 5, "stands": "message"})),
        (&message, entry(json!({"kind": "message", "body": "hi", "reactions": [{"user": id, "emoji": "!"}]}))),
        (&message, entry(json!({"kind": "left", "users": [id]}))),
    ];
    for (path, body) in &good {
        contract::check("GET", path, 200, body);
    }
    let bad = [
        (&outcome, json!({"id": id, "outcome": "settled", "seq": 5})),
        (&outcome, json!({"id": id, "outcome": "absent", "seq": 5})),
        (&outcome, json!({"id": id, "outcome": "pending"})),
        (&outcome, json!({"id": id, "outcome": "settled", "seq": 5, "stands": "nothing"})),
        (&outcome, json!({"id": conversation, "outcome": "absent"})),
        (&message, entry(json!({"kind": "created", "users": [id]}))),
        (&message, entry(json!({"kind": "left", "users": [id, id]}))),
        (&message, entry(json!({"kind": "joined"}))),
        (&message, entry(json!({"body": "hi"}))),
    ];
    for (path, body) in &bad {
        let caught = std::panic::catch_unwind(|| contract::check("GET", path, 200, body));
        assert!(caught.is_err(), "{body} is taken");
    }
}

#[tokio::test]
async fn every_route_wants_a_token() {
    let world = World::new().await;
    let service = world.start().await;
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (method, template) in chat::route_table() {
        let path: Vec<_> = template.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect();
        let method: Method = method.parse().unwrap();
        service.call(method, &path.join("/"), None, None).await.refused("unauthorized");
    }
    service.call(Method::GET, "/v1/nothing", None, None).await.refused("not_found");
    service.call(Method::PATCH, "/v1/sync", None, None).await.refused("method_not_allowed");
    service.stop().await;
}
