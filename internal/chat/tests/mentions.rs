//! Mentions: who is meant by a message, what is counted, and what else a message says.
#![allow(clippy::unwrap_used)]

mod world;

use domain::{CommandId, ConversationId};
use reqwest::Method;
use serde_json::{Value, json};
use world::{User, World};

async fn say(by: &User<'_>, c: ConversationId, body: Value) -> (CommandId, u64) {
    let (id, answer) = by.command(Method::POST, &format!("/v1/conversations/{c}/messages"), body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    (id, by.seq_of(c, id).await.get())
}

async fn edit(by: &User<'_>, c: ConversationId, message: CommandId, body: Value) {
    by.done(c, Method::PUT, &format!("messages/{message}"), body).await;
}

async fn mentions(of: &User<'_>, c: ConversationId, query: &str) -> Vec<u64> {
    of.get(&format!("/v1/conversations/{c}/mentions{query}")).await.seqs()
}

async fn count(of: &User<'_>, c: ConversationId) -> Value {
    of.get(&format!("/v1/conversations/{c}")).await.body["mentions"].clone()
}

fn to(users: &[&User<'_>], all: bool) -> Value {
    let users: Vec<_> = users.iter().map(|user| user.id).collect();
    json!({ "body": "hi", "mentions": { "users": users, "all": all } })
}

#[tokio::test]
async fn unread_mentions_are_counted_once_each_and_those_that_stand() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    say(&ann, c, json!({ "body": "nobody is meant" })).await;
    let (first, first_seq) = say(&ann, c, to(&[&bob], false)).await;
    let (second, second_seq) = say(&ann, c, to(&[&bob], true)).await;
    let below = json!({ "body": "below", "thread": first, "mentions": { "users": [bob.id] } });
    let (_, below_seq) = say(&ann, c, below).await;
    assert_eq!(mentions(&bob, c, "").await, [first_seq, second_seq, below_seq]);
    assert_eq!((count(&bob, c).await, count(&ann, c).await), (json!(3), json!(0)), "nobody mentions themselves");
    assert_eq!(mentions(&bob, c, "?limit=1").await, [below_seq]);
    assert_eq!(mentions(&bob, c, &format!("?before={second_seq}")).await, [first_seq]);
    assert_eq!(mentions(&bob, c, &format!("?after={first_seq}&limit=1")).await, [second_seq]);
    // An edit says all of it anew. What it mentions newly counts if the message is unread.
    edit(&ann, c, first, json!({ "body": "nobody any more" })).await;
    edit(&ann, c, second, to(&[], false)).await;
    let (plain, plain_seq) = say(&ann, c, json!({ "body": "plain" })).await;
    edit(&ann, c, plain, to(&[&bob], false)).await;
    assert_eq!((mentions(&bob, c, "").await, count(&bob, c).await), (vec![below_seq, plain_seq], json!(2)));
    bob.call(Method::PUT, &format!("/v1/conversations/{c}/mark"), json!({ "seq": below_seq })).await;
    let (gone, _) = say(&ann, c, to(&[&bob], false)).await;
    ann.call(Method::DELETE, &format!("/v1/conversations/{c}/messages/{gone}?id={}", world.id()), json!({})).await;
    ann.say(c, "behind the deletion").await;
    assert_eq!((mentions(&bob, c, "").await, count(&bob, c).await), (vec![below_seq, plain_seq], json!(1)));
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_reader_sees_mentions_of_their_memberships_and_what_they_may_not_say_is_refused() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob, eve) = (world.user(&service, 1), world.user(&service, 2), world.user(&service, 3));
    let c = ann.group(&[]).await;
    say(&ann, c, to(&[], true)).await;
    ann.done(c, Method::POST, "members", json!({ "members": [bob.id] })).await;
    assert_eq!((mentions(&bob, c, "").await, count(&bob, c).await), (vec![], json!(0)), "from before bob came");
    let (seen, _) = say(&ann, c, to(&[&bob], false)).await;
    for (body, code) in [(to(&[&eve], false), "no_such_member"), (to(&[], true), "forbidden")] {
        let (id, answer) = bob.command(Method::POST, &format!("/v1/conversations/{c}/messages"), body).await;
        assert_eq!(answer.status, 202, "it is decided in the log");
        ann.say(c, "behind it").await;
        let outcome = bob.get(&format!("/v1/conversations/{c}/outcome/{id}")).await.body;
        assert_eq!((&outcome["outcome"], &outcome["code"]), (&json!("refused"), &json!(code)));
    }
    bob.done(c, Method::POST, "leave", json!({})).await;
    edit(&ann, c, seen, json!({ "body": "nobody" })).await;
    say(&ann, c, to(&[], true)).await;
    assert_eq!((mentions(&bob, c, "").await, count(&bob, c).await), (vec![], json!(0)), "it mentions bob no more");
    eve.get(&format!("/v1/conversations/{c}/mentions")).await.refused("not_member");
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn what_a_message_says_besides_its_text_comes_back_as_it_went_until_it_is_deleted() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let ann = world.user(&service, 1);
    let c = ann.group(&[]).await;
    let (first, _) = say(&ann, c, json!({ "body": "gr\u{fc}ezi" })).await;
    let content = json!({ "type": "com.example.poll", "data": "{\"options\":2}" });
    let body = json!({ "body": "this", "reply_to": first, "quote": { "from": 1, "to": 3 }, "content": content });
    let (second, _) = say(&ann, c, body).await;
    let shown = async || ann.get(&format!("/v1/conversations/{c}/messages/{second}")).await.body;
    let entry = shown().await;
    assert_eq!((&entry["quote"], &entry["content"]), (&json!({ "from": 1, "to": 3 }), &content));
    edit(&ann, c, second, json!({ "body": "that" })).await;
    let entry = shown().await;
    assert_eq!(
        (&entry["quote"], entry.get("content")),
        (&json!({ "from": 1, "to": 3 }), None),
        "the quote is of the reply"
    );
    edit(&ann, c, second, json!({ "body": "this", "content": content })).await;
    assert_eq!(shown().await["content"], content);
    ann.call(Method::DELETE, &format!("/v1/conversations/{c}/messages/{second}?id={}", world.id()), json!({})).await;
    ann.say(c, "behind it").await;
    let entry = shown().await;
    assert_eq!((&entry["body"], entry.get("content")), (&json!(""), None));
    for wrong in
        [json!({ "body": "b", "quote": { "from": 0, "to": 1 } }), json!({ "body": "b", "content": { "type": "poll" } })]
    {
        let path = format!("/v1/conversations/{c}/messages");
        let (_, answer) = ann.command(Method::POST, &path, wrong).await;
        answer.refused("invalid");
    }
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn what_a_message_said_is_kept_until_it_is_deleted() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob, eve) = (world.user(&service, 1), world.user(&service, 2), world.user(&service, 3));
    let c = ann.group(&[bob.id]).await;
    let (said, _) = say(&ann, c, json!({ "body": "one" })).await;
    edit(&ann, c, said, to(&[&bob], false)).await;
    let path = format!("/v1/conversations/{c}/messages/{said}/versions");
    let texts = async |of: &User<'_>, query: &str| -> (Vec<String>, bool) {
        let page = of.get(&format!("{path}{query}")).await.body;
        let texts =
            page["versions"].as_array().unwrap().iter().map(|version| version["body"].as_str().unwrap().to_owned());
        (texts.collect(), page["more"].as_bool().unwrap())
    };
    bob.done(c, Method::POST, "leave", json!({})).await;
    edit(&ann, c, said, json!({ "body": "three" })).await;
    ann.done(c, Method::POST, "members", json!({ "members": [eve.id] })).await;
    let all = ann.get(&path).await.body;
    assert_eq!(all["versions"][1]["mentions"], json!({ "users": [bob.id] }));
    assert_eq!(texts(&ann, "").await, (["one", "hi", "three"].map(str::to_owned).into(), false));
    assert_eq!(texts(&ann, "?limit=2").await, (["one", "hi"].map(str::to_owned).into(), true));
    let second = all["versions"][1]["seq"].as_u64().unwrap();
    assert_eq!(texts(&ann, &format!("?after={second}")).await, (vec!["three".to_owned()], false));
    assert_eq!(texts(&bob, "").await, (vec!["hi".to_owned()], false), "of those that were written while bob was there");
    eve.get(&path).await.refused("no_such_message");
    ann.call(Method::DELETE, &format!("/v1/conversations/{c}/messages/{said}?id={}", world.id()), json!({})).await;
    ann.say(c, "behind it").await;
    for user in [&ann, &bob] {
        assert_eq!(texts(user, "").await, (vec![], false));
    }
    service.stop().await;
    storage.stop().await;
}
