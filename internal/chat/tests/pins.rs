//! Pinned messages: who pins, and who sees which.
#![allow(clippy::unwrap_used)]

mod world;

use domain::{CommandId, ConversationId};
use reqwest::Method;
use serde_json::json;
use world::{User, World};

async fn said(by: &User<'_>, c: ConversationId) -> (CommandId, u64) {
    let path = format!("/v1/conversations/{c}/messages");
    let (id, answer) = by.command(Method::POST, &path, json!({ "body": "hi" })).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    (id, by.seq_of(c, id).await.get())
}

async fn pin(by: &User<'_>, c: ConversationId, message: CommandId) {
    by.done(c, Method::PUT, &format!("messages/{message}/pin"), json!({})).await;
}

async fn pins(of: &User<'_>, c: ConversationId, query: &str) -> Vec<u64> {
    of.get(&format!("/v1/conversations/{c}/pins{query}")).await.seqs()
}

#[tokio::test]
async fn pins_are_listed_by_their_places_and_a_deleted_message_is_none() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob) = (world.user(&service, 1), world.user(&service, 2));
    let c = ann.group(&[bob.id]).await;
    assert_eq!(pins(&bob, c, "").await, [0; 0]);
    let mut messages = Vec::new();
    for _ in 0..4 {
        messages.push(said(&bob, c).await);
    }
    let seqs: Vec<u64> = messages.iter().map(|(_, seq)| *seq).collect();
    for number in [2, 0, 3] {
        pin(&ann, c, messages[number].0).await;
    }
    assert_eq!(pins(&bob, c, "").await, [seqs[0], seqs[2], seqs[3]]);
    assert_eq!(pins(&bob, c, "?limit=2").await, [seqs[2], seqs[3]]);
    assert_eq!(pins(&bob, c, &format!("?before={}", seqs[2])).await, [seqs[0]]);
    assert_eq!(pins(&bob, c, &format!("?after={}&limit=1", seqs[0])).await, [seqs[2]]);
    let path = format!("/v1/conversations/{c}/messages/{}/pin", messages[1].0);
    let (id, answer) = bob.command(Method::PUT, &path, json!({})).await;
    assert_eq!(answer.status, 202, "it is decided in the log");
    bob.call(Method::DELETE, &format!("/v1/conversations/{c}/messages/{}?id={}", messages[2].0, world.id()), json!({}))
        .await;
    ann.call(
        Method::DELETE,
        &format!("/v1/conversations/{c}/messages/{}/pin?id={}", messages[0].0, world.id()),
        json!({}),
    )
    .await;
    ann.say(c, "something behind all of that").await;
    assert_eq!(pins(&bob, c, "").await, [seqs[3]]);
    let outcome = bob.get(&format!("/v1/conversations/{c}/outcome/{id}")).await.body;
    assert_eq!((&outcome["outcome"], &outcome["code"]), (&json!("refused"), &json!("forbidden")));
    service.stop().await;
    storage.stop().await;
}

#[tokio::test]
async fn a_reader_sees_the_pins_of_what_they_may_read_and_as_of_their_leaving() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start().await);
    let (ann, bob, eve) = (world.user(&service, 1), world.user(&service, 2), world.user(&service, 3));
    let c = ann.group(&[]).await;
    let (early, early_seq) = said(&ann, c).await;
    ann.done(c, Method::POST, "members", json!({ "members": [bob.id] })).await;
    let (seen, seen_seq) = said(&ann, c).await;
    let (late, late_seq) = said(&ann, c).await;
    pin(&ann, c, early).await;
    pin(&ann, c, seen).await;
    assert_eq!(pins(&bob, c, "").await, [seen_seq], "not what was said before bob came");
    bob.done(c, Method::POST, "leave", json!({})).await;
    pin(&ann, c, late).await;
    assert_eq!(pins(&bob, c, "").await, [seen_seq]);
    assert_eq!(pins(&ann, c, "").await, [early_seq, seen_seq, late_seq]);
    eve.get(&format!("/v1/conversations/{c}/pins")).await.refused("not_member");
    service.stop().await;
    storage.stop().await;
}
