//! Invitations: groups that somebody was added to wait to be accepted, are bounded, and can be declined.
#![allow(clippy::unwrap_used)]

mod world;

use chat::Config;
use domain::ConversationId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use world::{Answer, User, World};

fn config() -> Config {
    let allowance = chat::Allowance::new(100_000, 100_000);
    Config { allowance, read_burst: 100_000, read_rate: 100_000, ..Config::default() }
}

async fn invite(ann: &User<'_>, group: ConversationId, user: &User<'_>) -> Answer {
    ann.command(Method::POST, &format!("/v1/conversations/{group}/members"), json!({ "members": [user.id] })).await.1
}

async fn open(ann: &User<'_>, kind: &str, user: &User<'_>) -> Answer {
    ann.command(Method::POST, "/v1/conversations", json!({ "kind": kind, "members": [user.id] })).await.1
}

/// The ids and inviters of a list.
async fn listed(user: &User<'_>, query: &str) -> Vec<(ConversationId, Value)> {
    let page = user.get(&format!("/v1/conversations?limit=100{query}")).await.body;
    let rows = page["conversations"].as_array().unwrap().iter();
    rows.map(|row| (row["id"].as_str().unwrap().parse().unwrap(), row["invited_by"].clone())).collect()
}

/// Says something in the direct conversation with somebody.
async fn write_to(user: &User<'_>, other: &User<'_>) {
    let answer = open(user, "direct", other).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    user.say(answer.body["conversation"].as_str().unwrap().parse().unwrap(), "hello").await;
}

/// Issue 10, item 4.
#[tokio::test(flavor = "multi_thread")]
async fn one_user_takes_another_into_so_many_groups_and_no_more() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start_with(config()).await);
    let [ann, bob, carl] = [1, 2, 3].map(|number| world.user(&service, number));
    let own = bob.group(&[carl.id]).await;
    let mut groups = Vec::new();
    for _ in 0..commands::INVITATIONS_BY_ONE_MAX {
        groups.push(ann.group(&[bob.id]).await);
    }
    let answer = open(&ann, "group", &bob).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    answer.refused("too_many_invitations");
    assert!(answer.body["message"].as_str().unwrap().contains(&bob.id.to_string()), "{answer:?}");
    let among_others = ann.group(&[carl.id]).await;
    invite(&ann, among_others, &bob).await.refused("too_many_invitations");
    // The same account may still talk to them, others may take them in, and their list shows which are real.
    let others = carl.group(&[bob.id]).await;
    assert_eq!(listed(&bob, "&invitations=false").await, [(own, Value::Null)]);
    let waiting = listed(&bob, "&invitations=true").await;
    assert_eq!(waiting.len(), 100, "a page of the 101");
    let of = |group: &ConversationId| if *group == others { json!(carl.id) } else { json!(ann.id) };
    assert!(waiting.iter().all(|(group, inviter)| *group != own && *inviter == of(group)));

    // One of them is accepted by sending a message, one by reading, one declined: there is room for three again.
    bob.say(groups[0], "hello").await;
    let created = bob.get(&format!("/v1/conversations/{}/messages", groups[1])).await.seqs()[0];
    let read = bob.call(Method::PUT, &format!("/v1/conversations/{}/mark", groups[1]), json!({ "seq": created })).await;
    assert_eq!(read.status, StatusCode::OK, "{read:?}");
    bob.done(groups[2], Method::POST, "leave", json!({})).await;
    let mut taken = 0;
    while taken < 3 {
        let answer = open(&ann, "group", &bob).await;
        taken += usize::from(answer.status == StatusCode::ACCEPTED);
    }
    assert_eq!(listed(&bob, "&invitations=false").await.len(), 3);
    open(&ann, "group", &bob).await.refused("too_many_invitations");
    // Somebody whom the user has written to may go on.
    write_to(&bob, &ann).await;
    assert_eq!(open(&ann, "group", &bob).await.status, StatusCode::ACCEPTED);
    service.stop().await;
    storage.stop().await;
}

/// Issue 10, item 4: each of these requests found the last invitation free.
#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_opened_at_once_have_no_more_room() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start_with(config()).await);
    let [ann, bob, carl] = [1, 2, 3].map(|number| world.user(&service, number));
    let before = commands::INVITATIONS_BY_ONE_MAX - 5;
    for _ in 0..before {
        ann.group(&[bob.id]).await;
    }
    let opened = futures_util::future::join_all((0..30).map(|_| open(&ann, "group", &bob))).await;
    let taken = opened.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    assert_eq!(taken, 5, "{opened:?}");
    // An invitation that was refused together with others has not been counted.
    for _ in 0..commands::INVITATIONS_BY_ONE_MAX {
        let members = json!({ "kind": "group", "members": [bob.id, carl.id] });
        ann.command(Method::POST, "/v1/conversations", members).await.1.refused("too_many_invitations");
    }
    assert_eq!(open(&ann, "group", &carl).await.status, StatusCode::ACCEPTED);
    service.stop().await;
    storage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_declines_a_group_twice_is_not_taken_in_again() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start_with(config()).await);
    let [ann, bob, carl, dora] = [1, 2, 3, 4].map(|number| world.user(&service, number));
    let group = ann.group(&[bob.id, carl.id, dora.id]).await;
    assert_eq!(listed(&bob, "").await, [(group, json!(ann.id))]);
    bob.done(group, Method::POST, "leave", json!({})).await;
    assert_eq!(listed(&bob, "").await, [], "a group that is declined is not listed any more");
    // Once may have been a mistake.
    assert_eq!(invite(&ann, group, &bob).await.status, StatusCode::ACCEPTED);
    while listed(&bob, "").await.is_empty() {}
    bob.done(group, Method::POST, "leave", json!({})).await;
    let answer = invite(&ann, group, &bob).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    answer.refused("declined");
    // Leaving after having accepted, and being removed, are no declining.
    carl.say(group, "hello").await;
    for _ in 0..3 {
        carl.done(group, Method::POST, "leave", json!({})).await;
        let member = format!("/v1/conversations/{group}/members/{}?id={}", dora.id, world.id());
        assert_eq!(ann.call(Method::DELETE, &member, Value::Null).await.status, StatusCode::ACCEPTED);
        while !listed(&dora, "").await.is_empty() {}
        for user in [&carl, &dora] {
            assert_eq!(invite(&ann, group, user).await.status, StatusCode::ACCEPTED);
            while listed(user, "").await.is_empty() {}
        }
    }
    write_to(&bob, &ann).await;
    assert_eq!(invite(&ann, group, &bob).await.status, StatusCode::ACCEPTED);
    service.stop().await;
    storage.stop().await;
}

/// Who was removed once and left once has not left twice.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_user_left_themselves_counts_as_declined() {
    let world = World::new().await;
    let (storage, service) = (world.storage(), world.start_with(config()).await);
    let users = [1, 2, 3, 4, 5].map(|number| world.user(&service, number));
    let [ann, removed_left, left_left, left_removed, left_removed_left] = &users;
    let group = ann.group(&[removed_left.id, left_left.id, left_removed.id, left_removed_left.id]).await;
    for (user, ends, declined) in [
        (removed_left, "remove leave", false),
        (left_left, "leave leave", true),
        (left_removed, "leave remove", false),
        (left_removed_left, "leave remove leave", true),
    ] {
        for (number, end) in ends.split(' ').enumerate() {
            if number > 0 {
                assert_eq!(invite(ann, group, user).await.status, StatusCode::ACCEPTED, "{ends}: {number}");
                while listed(user, "").await.is_empty() {}
            }
            if end == "leave" {
                user.done(group, Method::POST, "leave", json!({})).await;
            } else {
                let member = format!("/v1/conversations/{group}/members/{}?id={}", user.id, world.id());
                assert_eq!(ann.call(Method::DELETE, &member, Value::Null).await.status, StatusCode::ACCEPTED);
            }
            while !listed(user, "").await.is_empty() {}
        }
        let answer = invite(ann, group, user).await;
        if declined {
            answer.refused("declined");
        } else {
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{ends}");
        }
    }
    service.stop().await;
    storage.stop().await;
}
