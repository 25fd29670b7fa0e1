//! The events of accounts, as consumers of `users.events` get them.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;

use domain::UserId;
use environment::Entropy;
use events::AccountEvent;
use reqwest::Method;
use serde_json::json;
use store::OutboxRow;
use world::faulty::{Fault, FaultyLog};
use world::{PASSWORD, World};

const HOUR_MS: i64 = 3_600_000;

/// A row as the service writes it, for an account that may not be.
fn row(world: &World, user: UserId, name: &str) -> OutboxRow {
    let what = json!({ "registered": { "name": name, "display_name": name } });
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    OutboxRow {
        id: Entropy::seeded(77).uuid_v7(&world.clock()).into_bytes(),
        user,
        account_name: name.to_owned(),
        payload: serde_json::to_vec(&json!({ "time_ms": 1, "trace": trace, "what": what })).unwrap(),
    }
}

#[tokio::test]
async fn what_happens_to_an_account_is_published_in_order() {
    let world = World::new().await;
    let service = world.start().await;
    let user = service.register("ada").await;
    let token = service.sign_in("ada", PASSWORD).await.text("access_token");
    service.call(Method::DELETE, "/v1/sessions/current", Some(&token), None).await;
    let events = world.events_of(user, 3).await;
    let names = AccountEvent::Registered { name: "ada".into(), display_name: "ada".into() };
    let what: Vec<_> = events.iter().map(|(event, _)| event.what.clone()).collect();
    assert_eq!(what, [names, AccountEvent::SessionStarted, AccountEvent::SessionEnded]);
    for (event, id) in &events {
        assert_eq!(*id, event.id.to_string(), "the header has the id that repetitions carry");
        assert_eq!(event.time_ms, world::NOW_MS);
    }
    world.outbox_empty().await;
    service.until_ready().await;
}

#[tokio::test]
async fn a_log_that_fails_for_a_while_gets_everything_and_repetitions_have_the_same_id() {
    let mut world = World::new().await;
    let faulty = Arc::new(FaultyLog { log: world.log.clone(), appends: Arc::default() });
    faulty.appends.lock().unwrap().extend([Fault::Refused, Fault::Unanswered, Fault::Refused]);
    world.log = faulty;
    let service = world.start().await;
    let user = service.register("ada").await;
    service.sign_in("ada", PASSWORD).await;
    let events = world.events_of(user, 3).await;
    assert_eq!(events[0].1, events[1].1, "appended without an answer, so once more");
    assert_eq!(events[2].0.what, AccountEvent::SessionStarted);
    world.outbox_empty().await;
    assert_eq!(service.metric("klatsch_users_events_published_total"), 2);
}

#[tokio::test]
async fn rows_of_a_process_that_died_are_published_by_the_next() {
    let world = World::new().await;
    let service = world.start().await;
    let user = service.register("ada").await;
    world.events_of(user, 1).await;
    service.stop().await;
    world.store.add_outbox(&row(&world, user, "ada")).await.unwrap();
    let _service = world.start().await;
    assert_eq!(world.events_of(user, 2).await.len(), 2);
}

#[tokio::test]
async fn an_event_whose_account_was_never_made_is_not_published() {
    let world = World::new().await;
    let stranger: UserId = "936da01f-9abd-4d9d-80c7-02af85c822a8".parse().unwrap();
    world.store.add_outbox(&row(&world, stranger, "ada")).await.unwrap();
    let service = world.start().await;
    service.until_ready().await;
    assert_eq!(world.store.outbox(10).await.unwrap().len(), 1, "the creation may be under way");
    // The name went to another account: the row's creation came too late.
    let user = service.register("ada").await;
    world.outbox_empty().await;
    assert_eq!(world.events_of(user, 1).await.len(), 1);
    // The name went to nobody: an hour later the creation cannot be under way any more.
    world.store.add_outbox(&row(&world, stranger, "bob")).await.unwrap();
    world.advance_ms(HOUR_MS);
    service.sign_in("ada", PASSWORD).await;
    world.outbox_empty().await;
    assert_eq!(world.events_of(user, 2).await.len(), 2);
    assert_eq!(service.metric("klatsch_users_events_published_total"), 2);
}

#[tokio::test]
async fn a_row_of_a_newer_program_waits_and_holds_nobody_up() {
    let world = World::new().await;
    let service = world.start().await;
    let user = service.register("ada").await;
    let newer = OutboxRow { payload: br#"{"what":"enchanted"}"#.to_vec(), ..row(&world, user, "ada") };
    world.store.add_outbox(&newer).await.unwrap();
    service.sign_in("ada", PASSWORD).await;
    assert_eq!(world.events_of(user, 2).await[1].0.what, AccountEvent::SessionStarted);
    service.stop().await;
    assert_eq!(world.store.outbox(10).await.unwrap(), [newer]);
}

#[tokio::test]
async fn stopping_publishes_what_was_accepted() {
    let world = World::new().await;
    let service = world.start().await;
    let user = service.register("ada").await;
    for _ in 0..5 {
        service.sign_in("ada", PASSWORD).await;
    }
    service.stop().await;
    assert!(world.store.outbox(10).await.unwrap().is_empty());
    assert_eq!(world.events_of(user, 6).await.len(), 6);
}

#[tokio::test]
async fn readiness_tells_what_is_wrong_with_the_topic() {
    let mut world = World::new().await;
    let empty = eventlog::embedded::EmbeddedLog::open(kv::Database::in_memory(), world.clock()).await.unwrap();
    world.log = empty;
    let service = world.start().await;
    let is_said = || service.readiness.reasons().into_iter().any(|reason| reason.reason.contains("topics apply"));
    while !is_said() {
        tokio::task::yield_now().await;
    }
    world::begin_topic(&*world.log).await;
    service.until_ready().await;
}
