//! Conversations from outside: commands in, rows by storage, reads out.
#![allow(clippy::unwrap_used)]

mod world;

use domain::ConversationId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use world::{World, user_id};

/// Issue 10, item 4: users without an account are reported, and added nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn users_without_an_account_are_told_of_and_taken_in_nowhere() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, ghost) = (world.user(&service, 1), user_id(world::USERS));
    let direct = json!({ "kind": "direct", "members": [ghost] });
    let (_, answer) = ann.command(Method::POST, "/v1/conversations", direct).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    answer.refused("no_such_user");
    let c = ann.group(&[user_id(2)]).await;
    let path = format!("/v1/conversations/{c}/members");
    let (id, answer) = ann.command(Method::POST, &path, json!({ "members": [user_id(3), ghost] })).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let outcome = ann.get(&format!("/v1/conversations/{c}/outcome/{id}")).await.body;
    assert_eq!((&outcome["outcome"], &outcome["code"]), (&json!("refused"), &json!("no_such_user")), "{outcome}");
    let members = ann.get(&path).await;
    assert_eq!(members.body["members"].as_array().unwrap().len(), 2, "{members:?}");
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_conversation_from_its_creation_to_its_messages() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    let body = ann.get(&format!("/v1/conversations/{c}")).await.body;
    assert_eq!((&body["kind"], &body["title"], &body["role"]), (&json!("group"), &json!("tea"), &json!("owner")));
    assert_eq!(bob.get(&format!("/v1/conversations/{c}")).await.body["role"], "member");

    let hello = bob.done(c, Method::POST, "messages", json!({ "body": "hello" })).await;
    let page = ann.history(c, "").await;
    assert_eq!(page.body["entries"].as_array().unwrap().len(), 2);
    let message = &page.body["entries"][1];
    assert_eq!(message["seq"], hello.get());
    let id = message["id"].as_str().unwrap().to_owned();

    let edit = bob.done(c, Method::PUT, &format!("messages/{id}"), json!({ "body": "hello!" })).await;
    let path = format!("messages/{id}/reaction");
    ann.done(c, Method::PUT, &path, json!({ "emoji": "👍" })).await;
    let message = ann.history(c, "").await.body["entries"][1].clone();
    assert_eq!((&message["body"], &message["edited"]), (&json!("hello!"), &json!(world::NOW_MS)));
    assert_eq!(message["reactions"], json!([{ "user": ann.id, "emoji": "👍" }]));
    assert!(message["changed"].as_u64().unwrap() > edit.get());
    let withdrawn = world.id();
    let path = format!("/v1/conversations/{c}/messages/{id}/reaction?id={withdrawn}&emoji=%F0%9F%91%8D");
    assert_eq!(ann.call(Method::DELETE, &path, Value::Null).await.status, StatusCode::ACCEPTED);
    ann.seq_of(c, withdrawn).await;
    assert!(ann.history(c, "").await.body["entries"][1].get("reactions").is_none());

    let deleted = world.id();
    let path = format!("/v1/conversations/{c}/messages/{id}?id={deleted}");
    assert_eq!(bob.call(Method::DELETE, &path, Value::Null).await.status, StatusCode::ACCEPTED);
    bob.seq_of(c, deleted).await;
    let message = ann.history(c, "").await.body["entries"][1].clone();
    assert_eq!((&message["body"], &message["deleted"]), (&json!(""), &json!(true)));
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn members_come_change_roles_and_go() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob, cid) = (world.user(&service, 1), world.user(&service, 2), world.user(&service, 3));
    let c = ann.group(&[bob.id]).await;
    ann.done(c, Method::POST, "members", json!({ "members": [cid.id, user_id(4)] })).await;
    ann.done(c, Method::PUT, &format!("members/{}/role", bob.id), json!({ "role": "admin" })).await;
    ann.done(c, Method::PUT, "title", json!({ "title": "coffee" })).await;
    let path = format!("/v1/conversations/{c}/members");
    let page = cid.get(&format!("{path}?limit=3")).await.body;
    let who = |page: &Value| -> Vec<Value> {
        let members = page["members"].as_array().unwrap().iter();
        members.map(|member| json!([member["user"], member["role"]])).collect()
    };
    let expected = [json!([ann.id, "owner"]), json!([bob.id, "admin"]), json!([cid.id, "member"])];
    assert_eq!((who(&page), &page["more"]), (expected.to_vec(), &json!(true)));
    // A row carries the seq of the event that made it so: for a promoted member, a later one than the joining.
    let rows = page["members"].as_array().unwrap();
    assert_eq!(rows[0]["changed"], rows[0]["joined"]);
    assert!(rows[1]["changed"].as_u64() > rows[1]["joined"].as_u64());
    let rest = cid.get(&format!("{path}?limit=3&after={}", cid.id)).await.body;
    assert_eq!((who(&rest), &rest["more"]), (vec![json!([user_id(4), "member"])], &json!(false)));

    let id = world.id();
    let removal = bob.call(Method::DELETE, &format!("{path}/{}?id={id}", cid.id), Value::Null).await;
    assert_eq!(removal.status, StatusCode::ACCEPTED);
    bob.seq_of(c, id).await;
    cid.get(&path).await.refused("not_member");
    ann.done(c, Method::POST, "leave", json!({})).await;
    assert_eq!(bob.get(&format!("/v1/conversations/{c}")).await.body["role"], "owner");
    let kinds: Vec<_> = bob.history(c, "").await.body["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["created", "joined", "title", "left", "left"]);
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_direct_conversation_is_the_same_one_for_both() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    for (who, other) in [(&ann, &bob), (&bob, &ann)] {
        let body = json!({ "kind": "direct", "members": [other.id] });
        let (_, answer) = who.command(Method::POST, "/v1/conversations", body).await;
        assert_eq!(answer.body["conversation"], json!(ConversationId::direct(ann.id, bob.id)));
    }
    let c = ConversationId::direct(ann.id, bob.id);
    bob.say(c, "hi").await;
    assert_eq!(ann.history(c, "").await.texts(), ["hi"]);
    for (who, other) in [(&ann, &bob), (&bob, &ann)] {
        assert_eq!(who.get(&format!("/v1/conversations/{c}")).await.body["peer"], json!(other.id));
    }
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn the_list_is_by_recency_with_the_last_message_and_exact_unread() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let mut groups = Vec::new();
    for number in 0..5 {
        world.now.fetch_add(1000, std::sync::atomic::Ordering::SeqCst);
        let c = ann.group(&[bob.id]).await;
        for said in 0..=number {
            ann.say(c, &said.to_string()).await;
        }
        groups.push(c);
    }
    let list = bob.get("/v1/conversations").await.body;
    let found: Vec<_> = list["conversations"].as_array().unwrap().iter().map(|each| each["id"].clone()).collect();
    let expected: Vec<_> = groups.iter().rev().map(|c| json!(c)).collect();
    assert_eq!(found, expected);
    let first = &list["conversations"][0];
    assert_eq!((&first["unread"], &first["last_message"]["body"]), (&json!(5), &json!("4")));
    assert!(list.get("next").is_none());

    // In pages; a conversation that becomes active meanwhile does not come twice.
    let page = bob.get("/v1/conversations?limit=2").await.body;
    let next = page["next"].as_str().unwrap();
    let again = bob.get(&format!("/v1/conversations?limit=2&page={next}")).await.body;
    let ids: Vec<_> = again["conversations"].as_array().unwrap().iter().map(|each| each["id"].clone()).collect();
    assert_eq!(ids, expected[2..4]);
    let last = again["next"].as_str().unwrap();
    let end = bob.get(&format!("/v1/conversations?limit=2&page={last}")).await.body;
    assert_eq!((end["conversations"].as_array().unwrap().len(), end.get("next")), (1, None));

    // A mark in the middle leaves later messages unread.
    let third = ann.history(groups[4], "?limit=3").await.seqs()[0];
    let marked = bob.call(Method::PUT, &format!("/v1/conversations/{}/mark", groups[4]), json!({ "seq": third })).await;
    assert_eq!(marked.body["seq"], third);
    let path = format!("/v1/conversations/{}", groups[4]);
    loop {
        // Marks are applied in a partition of their own: a sync waits for it.
        bob.get("/v1/sync").await;
        let body = bob.get(&path).await.body;
        if body["mark"]["seq"] == third {
            assert_eq!((&body["unread"], &body["mark"]["ordinal"]), (&json!(2), &json!(3)));
            break;
        }
    }
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn who_comes_later_has_nothing_unread_and_no_message_from_before() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[]).await;
    ann.say(c, "before").await;
    ann.done(c, Method::POST, "members", json!({ "members": [bob.id] })).await;
    let body = bob.get("/v1/conversations").await.body["conversations"][0].clone();
    assert_eq!((&body["unread"], body.get("last_message")), (&json!(0), None));
    ann.say(c, "after").await;
    let body = bob.get(&format!("/v1/conversations/{c}")).await.body;
    assert_eq!((&body["unread"], &body["last_message"]["body"]), (&json!(1), &json!("after")));
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn bad_input_is_refused_with_its_code() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[]).await;
    let base = format!("/v1/conversations/{c}");
    let messages = format!("{base}/messages");
    let (id, nobody) = (world.id(), ConversationId::group(bob.id, world.id()));
    let future = domain::CommandId::first_at(world::NOW_MS + 61_000);
    for (body, code) in [
        (json!({ "id": id, "body": "" }), "invalid"),
        (json!({ "id": id, "body": "x".repeat(16 * 1024 + 1) }), "invalid"),
        (json!({ "id": id, "body": "x".repeat(70_000) }), "too_large"),
        (json!({ "id": user_id(7), "body": "hi" }), "bad_request"),
        (json!({ "body": "hi" }), "bad_request"),
        (json!({ "id": future, "body": "hi" }), "id_from_future"),
    ] {
        ann.call(Method::POST, &messages, body).await.refused(code);
    }
    for (query, code) in [
        ("?limit=0", "page_out_of_range"),
        ("?limit=201", "page_out_of_range"),
        ("?limit=-1", "page_out_of_range"),
        ("?limit=many", "bad_request"),
        ("?before=1&after=1", "bad_request"),
        ("?before=-1", "bad_request"),
        ("?after=1125899906842624", "bad_request"),
    ] {
        ann.history(c, query).await.refused(code);
    }
    ann.get("/v1/conversations?limit=101").await.refused("page_out_of_range");
    ann.get("/v1/conversations?page=yesterday").await.refused("bad_request");
    ann.get(&format!("{base}/members?limit=0")).await.refused("page_out_of_range");
    ann.get("/v1/conversations/17").await.refused("bad_request");
    let (_, refused) = ann.command(Method::POST, "/v1/conversations", json!({ "kind": "crowd", "members": [] })).await;
    refused.refused("invalid");
    let direct = json!({ "kind": "direct", "members": [ann.id] });
    ann.command(Method::POST, "/v1/conversations", direct).await.1.refused("invalid");
    let role = json!({ "role": "king" });
    ann.command(Method::PUT, &format!("{base}/members/{}/role", bob.id), role).await.1.refused("invalid");
    ann.call(Method::PUT, &format!("{base}/mark"), json!({ "seq": 1_u64 << 40 })).await.refused("invalid");
    ann.call(Method::DELETE, &format!("{messages}/{id}"), Value::Null).await.refused("bad_request");

    // A conversation that the user is not a member of looks like one that does not exist.
    for c in [c, nobody] {
        let base = format!("/v1/conversations/{c}");
        for path in [base.clone(), format!("{base}/messages"), format!("{base}/members")] {
            bob.get(&path).await.refused("not_member");
        }
        bob.command(Method::POST, &format!("{base}/messages"), json!({ "body": "hi" })).await.1.refused("not_member");
        bob.call(Method::PUT, &format!("{base}/mark"), json!({ "seq": 1 })).await.refused("not_member");
    }
    service.call(Method::GET, "/v1/sync", Some("nonsense"), None).await.refused("unauthorized");
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_user_who_sends_too_much_is_told_to_wait() {
    let world = World::new().await;
    let config = chat::Config { allowance: chat::Allowance::new(3, 1), ..chat::Config::default() };
    let (storage, service) = (world.storage(), world.start_with(config).await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    let path = format!("/v1/conversations/{c}/messages");
    let mut refused = 0;
    for _ in 0..10 {
        let (_, answer) = ann.command(Method::POST, &path, json!({ "body": "hi" })).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.retry_after);
            answer.refused("rate_limited");
            refused += 1;
        }
    }
    assert!(refused > 0);
    bob.say(c, "somebody else may").await;
    service.stop().await;
    storage.stop().await;
}
