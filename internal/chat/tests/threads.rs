//! Threads: what is said in one, where it counts, and who may read it.
#![allow(clippy::unwrap_used)]

mod world;

use domain::{CommandId, ConversationId, Seq};
use reqwest::Method;
use serde_json::{Value, json};
use world::{Answer, User, World};

/// Sends a message into the thread of `root`; returns its id and seq.
async fn below(by: &User<'_>, c: ConversationId, root: CommandId, body: &str, also: bool) -> (CommandId, Seq) {
    let body = json!({ "body": body, "thread": root, "also_in_conversation": also });
    let (id, answer) = by.command(Method::POST, &format!("/v1/conversations/{c}/messages"), body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    (id, by.seq_of(c, id).await)
}

/// Sends a message; returns its id and seq.
async fn said(by: &User<'_>, c: ConversationId, body: &str) -> (CommandId, Seq) {
    let path = format!("/v1/conversations/{c}/messages");
    let (id, answer) = by.command(Method::POST, &path, json!({ "body": body })).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    (id, by.seq_of(c, id).await)
}

async fn thread(of: &User<'_>, c: ConversationId, root: CommandId, query: &str) -> Answer {
    of.get(&format!("/v1/conversations/{c}/messages/{root}/thread{query}")).await
}

async fn summary(of: &User<'_>, c: ConversationId) -> Value {
    of.get(&format!("/v1/conversations/{c}")).await.body
}

#[tokio::test]
async fn what_is_in_a_thread_alone_counts_nowhere_else() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    let (root, _) = said(&ann, c, "one").await;
    let (_, last) = said(&ann, c, "two").await;
    for number in 0..3 {
        below(&ann, c, root, &format!("below {number}"), false).await;
    }
    let seen = summary(&bob, c).await;
    assert_eq!((&seen["unread"], &seen["last_message"]["seq"]), (&json!(2), &json!(last)));
    // Who writes in a thread has not read the rest.
    let (own, own_seq) = below(&bob, c, root, "bob, below", false).await;
    assert_eq!(summary(&bob, c).await["unread"], json!(2));
    let (both, both_seq) = below(&ann, c, root, "below and here", true).await;
    let seen = summary(&bob, c).await;
    assert_eq!((&seen["unread"], &seen["last_message"]["seq"]), (&json!(3), &json!(both_seq)));
    // A deletion in the thread takes nothing from what is unread; one in both views does.
    let deleted = |id: CommandId| format!("messages/{id}?id={}", world.id());
    bob.call(Method::DELETE, &format!("/v1/conversations/{c}/{}", deleted(own)), json!({})).await;
    assert_eq!(bob.history(c, "").await.body["entries"].as_array().unwrap().len(), 8);
    ann.call(Method::DELETE, &format!("/v1/conversations/{c}/{}", deleted(both)), json!({})).await;
    let end = ann.say(c, "three").await;
    assert_eq!(summary(&bob, c).await["unread"], json!(3), "one, two, three");
    let page = thread(&bob, c, root, "?limit=200").await;
    let ordinals: Vec<_> =
        page.body["entries"].as_array().unwrap().iter().map(|entry| &entry["thread_ordinal"]).collect();
    assert_eq!(ordinals, [1, 2, 3, 4, 5].map(|number| json!(number)).iter().collect::<Vec<_>>());
    assert_eq!(page.body["head"], json!(end));
    assert_eq!(page.body["entries"][3]["seq"], json!(own_seq));
    let found = bob.get(&format!("/v1/conversations/{c}/messages/{root}")).await.body;
    assert_eq!((&found["replies"]["messages"], &found["replies"]["last"]), (&json!(5), &json!(both_seq)));
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn threads_are_read_in_pages_and_their_roots_listed_from_the_newest_on() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let ann = world.user(&service, 1);
    let c = ann.group(&[]).await;
    let (first, first_seq) = said(&ann, c, "first").await;
    said(&ann, c, "without a thread").await;
    let (second, second_seq) = said(&ann, c, "second").await;
    let mut seqs = Vec::new();
    for number in 0..7 {
        let root = if number == 3 { second } else { first };
        let (_, seq) = below(&ann, c, root, &number.to_string(), number == 5).await;
        seqs.extend((number != 3).then_some(seq.get()));
    }
    assert_eq!(thread(&ann, c, first, "").await.seqs(), seqs);
    let (mut older, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = thread(&ann, c, first, &query).await;
        older.splice(0..0, page.seqs());
        if page.body["more"] == false {
            break;
        }
        query = format!("?limit=2&before={}", older[0]);
    }
    assert_eq!(older, seqs);
    assert_eq!(thread(&ann, c, first, &format!("?limit=3&after={}", seqs[1])).await.seqs(), seqs[2..5]);
    thread(&ann, c, first, "?before=5&after=6").await.refused("bad_request");
    thread(&ann, c, first, "?limit=0").await.refused("page_out_of_range");
    let roots = |query: &str| {
        let path = format!("/v1/conversations/{c}/threads{query}");
        let ann = &ann;
        async move { ann.get(&path).await }
    };
    assert_eq!(roots("").await.seqs(), [first_seq.get(), second_seq.get()]);
    let page = roots("?limit=1").await;
    assert_eq!((page.seqs(), &page.body["more"]), (vec![second_seq.get()], &json!(true)));
    assert_eq!(roots(&format!("?before={second_seq}")).await.seqs(), [first_seq.get()]);
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn who_joins_later_reads_what_is_said_since_and_who_leaves_nothing_after() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob, eve) = (world.user(&service, 1), world.user(&service, 2), world.user(&service, 3));
    let c = ann.group(&[]).await;
    let (root, root_seq) = said(&ann, c, "root").await;
    let (quiet, _) = said(&ann, c, "another root").await;
    below(&ann, c, root, "before bob", false).await;
    below(&ann, c, quiet, "before bob", false).await;
    ann.done(c, Method::POST, "members", json!({ "members": [bob.id] })).await;
    // Bob can read neither the root nor anything under the other one: both are as if they were not there.
    thread(&bob, c, quiet, "").await.refused("no_such_message");
    thread(&bob, c, world.id(), "").await.refused("no_such_message");
    let (id, answer) = bob
        .command(
            Method::POST,
            &format!("/v1/conversations/{c}/messages"),
            json!({ "body": "bob, below", "thread": root }),
        )
        .await;
    answer.refused("no_such_message");
    assert_eq!(bob.get(&format!("/v1/conversations/{c}/outcome/{id}")).await.body["outcome"], json!("absent"));
    let (_, since) = below(&ann, c, root, "since", false).await;
    assert_eq!(thread(&bob, c, root, "").await.seqs(), [since.get()]);
    assert_eq!(thread(&bob, c, root, &format!("?after={since}")).await.seqs(), [0; 0], "nothing new, and still there");
    assert_eq!(bob.get(&format!("/v1/conversations/{c}/threads")).await.seqs(), [0; 0], "no root of his");
    let (own, own_seq) = said(&bob, c, "bob's").await;
    let (_, heard) = below(&ann, c, own, "to bob", false).await;
    let (late, _) = said(&ann, c, "a root of what bob will not hear").await;
    bob.done(c, Method::POST, "leave", json!({})).await;
    below(&ann, c, own, "to bob, who has left", false).await;
    below(&ann, c, root, "after bob", false).await;
    below(&ann, c, late, "after bob", false).await;
    assert_eq!(
        bob.get(&format!("/v1/conversations/{c}/threads")).await.seqs(),
        [own_seq.get()],
        "none that came later"
    );
    assert_eq!(thread(&bob, c, own, "").await.seqs(), [heard.get()]);
    assert_eq!(thread(&bob, c, root, "").await.seqs(), [since.get()]);
    let shown = bob.history(c, &format!("?before={}&limit=1", own_seq.next())).await.body["entries"][0].clone();
    assert_eq!((&shown["body"], &shown["replies"], &shown["withheld"]), (&json!("bob's"), &Value::Null, &json!(true)));
    thread(&eve, c, root, "").await.refused("not_member");
    eve.get(&format!("/v1/conversations/{c}/threads")).await.refused("not_member");
    let shown = ann.history(c, &format!("?before={}&limit=1", root_seq.next())).await.body["entries"][0].clone();
    assert_eq!(shown["replies"]["messages"], json!(3));
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn what_is_in_a_thread_is_no_root_and_a_flag_without_a_thread_is_a_mistake() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let ann = world.user(&service, 1);
    let c = ann.group(&[]).await;
    let (root, _) = said(&ann, c, "root").await;
    let (reply, _) = below(&ann, c, root, "below", true).await;
    let path = format!("/v1/conversations/{c}/messages");
    let (id, answer) = ann.command(Method::POST, &path, json!({ "body": "deeper", "thread": reply })).await;
    assert_eq!(answer.status, 202, "it is decided in the log");
    ann.say(c, "something behind it").await;
    let outcome = ann.get(&format!("/v1/conversations/{c}/outcome/{id}")).await.body;
    assert_eq!((&outcome["outcome"], &outcome["code"]), (&json!("refused"), &json!("not_a_root")));
    assert_eq!(thread(&ann, c, reply, "").await.seqs(), [0; 0]);
    let (_, answer) = ann.command(Method::POST, &path, json!({ "body": "x", "also_in_conversation": true })).await;
    answer.refused("invalid");
    service.stop().await;
    storage.stop().await;
}
