//! Accounts and sessions from outside.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;

use auth::{SigningKey, Verifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use environment::Entropy;
use events::AccountEvent;
use reqwest::{Method, StatusCode};
use serde_json::json;
use world::faulty::{Fault, FaultyStore};
use world::{PASSWORD, World};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

#[tokio::test]
async fn a_user_registers_signs_in_is_seen_and_signs_out() {
    let world = World::new().await;
    let service = world.start().await;
    let wish = json!({ "name": "Ada", "password": PASSWORD, "display_name": " Ada Lovelace " });
    let made = service.post("/v1/users", wish).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let expected = json!({
        "id": made.text("id"), "name": "ada", "display_name": "Ada Lovelace", "created": world::NOW_MS,
    });
    assert_eq!(made.body, expected);
    let session = service.sign_in("ADA", PASSWORD).await;
    assert_eq!(session.status, StatusCode::OK);
    assert_eq!((&session.body["user"], &session.body["expires_in"]), (&made.body, &json!(900)));
    let token = session.text("access_token");
    let by_id = format!("/v1/users/{}", made.text("id"));
    for path in ["/v1/me", "/v1/users/by-name/Ada", &by_id] {
        assert_eq!(service.get(path, &token).await.body, made.body, "{path}");
    }
    let refreshed = service.refresh(&session.text("refresh_token")).await;
    assert_eq!(refreshed.body["user"], made.body);
    let signed_out = service
        .call(
            Method::DELETE,
            "/v1/sessions/current",
            None,
            Some(json!({"refresh_token": refreshed.text("refresh_token")})),
        )
        .await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);
    service.refresh(&refreshed.text("refresh_token")).await.refused("session_ended");
    service.stop().await;
}

#[tokio::test]
async fn a_user_says_what_others_may_know_and_a_change_is_announced() {
    let world = World::new().await;
    let service = world.start().await;
    let user = service.register("ada").await;
    let token = service.sign_in("ada", PASSWORD).await.text("access_token");
    let path = "/v1/users/me/privacy";
    let settings = |presence: &str, invisible: bool| json!({ "presence": presence, "invisible": invisible });
    assert_eq!(service.get(path, &token).await.body, settings("everyone", false));
    let change = async |wish| service.call(Method::PATCH, path, Some(&token), Some(wish)).await;
    assert_eq!(change(json!({ "invisible": true })).await.body, settings("everyone", true));
    assert_eq!(change(json!({ "presence": "nobody" })).await.body, settings("nobody", true), "what is not named stays");
    assert_eq!(service.get(path, &token).await.body, settings("nobody", true));
    change(json!({ "presence": "friends" })).await.refused("invalid");
    assert_eq!(service.get(path, &token).await.body, settings("nobody", true));
    service.call(Method::PATCH, path, None, Some(json!({}))).await.refused("unauthorized");
    let events = world.events_of(user, 4).await;
    let what: Vec<_> = events.iter().map(|(event, ..)| event.what.clone()).collect();
    assert_eq!(what[2..], [AccountEvent::PrivacyChanged, AccountEvent::PrivacyChanged]);
    service.stop().await;
}

#[tokio::test]
async fn several_users_are_looked_up_at_once_in_the_order_asked() {
    let world = World::new().await;
    let service = world.start().await;
    let (ada, bob) = (service.register("ada").await, service.register("bob").await);
    let token = service.sign_in("ada", PASSWORD).await.text("access_token");
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    let found = service.get(&format!("/v1/users?ids={bob},{nobody},{ada}"), &token).await;
    let names: Vec<_> = found.body["users"].as_array().unwrap().iter().map(|user| user["name"].clone()).collect();
    assert_eq!(names, ["bob", "ada"]);
    service.get("/v1/users?ids=bob", &token).await.refused("invalid");
    service.get("/v1/users", &token).await.refused("bad_request");
    service.call(Method::GET, &format!("/v1/users?ids={ada}"), None, None).await.refused("unauthorized");
    service.stop().await;
}

#[tokio::test]
async fn others_verify_the_tokens_with_the_published_keys() {
    let world = World::new().await;
    let service = world.start().await;
    let user = service.register("ada").await;
    let token = service.sign_in("ada", PASSWORD).await.text("access_token");
    let jwks = service.url("/.well-known/jwks.json");
    let verifier = Verifier::remote(&jwks, world.clock(), Entropy::seeded(9)).unwrap();
    assert_eq!(verifier.verify(&token).await.unwrap().user, user);
    world.advance_ms(16 * MINUTE_MS);
    assert!(matches!(verifier.verify(&token).await, Err(auth::TokenError::Expired)));
    service.get("/v1/me", &token).await.refused("token_expired");
}

#[tokio::test]
async fn bad_input_is_refused_with_its_code() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let token = service.sign_in("ada", PASSWORD).await.text("access_token");
    for (wish, code) in [
        (json!({ "name": "ada", "password": PASSWORD }), "name_taken"),
        (json!({ "name": "AdA", "password": PASSWORD }), "name_taken"),
        (json!({ "name": "a", "password": PASSWORD }), "invalid"),
        (json!({ "name": "a b c", "password": PASSWORD }), "invalid"),
        (json!({ "name": "bob", "password": "short" }), "invalid"),
        (json!({ "name": "bob", "password": PASSWORD, "display_name": "" }), "invalid"),
        (json!({ "name": "bob" }), "bad_request"),
        (json!([]), "bad_request"),
        (json!({ "name": "bob", "password": "a".repeat(70_000) }), "too_large"),
    ] {
        service.post("/v1/users", wish).await.refused(code);
    }
    service.sign_in("ada", "wrong password").await.refused("wrong_credentials");
    service.sign_in("nobody", PASSWORD).await.refused("wrong_credentials");
    service.sign_in("no such name at all", PASSWORD).await.refused("wrong_credentials");
    service.get("/v1/users/by-name/nobody", &token).await.refused("not_found");
    service.get("/v1/users/by-name/n", &token).await.refused("invalid");
    service.get("/v1/users/936da01f-9abd-4d9d-80c7-02af85c822a8", &token).await.refused("not_found");
    service.get("/v1/users/17", &token).await.refused("bad_request");
    service.get("/v1/me", "not a token").await.refused("unauthorized");
    service.call(Method::GET, "/v1/me", None, None).await.refused("unauthorized");
    service.refresh("not a token").await.refused("unauthorized");
    service.refresh(&"A".repeat(86)).await.refused("session_ended");
    service.call(Method::DELETE, "/v1/sessions/current", None, None).await.refused("unauthorized");
    service.call(Method::DELETE, "/v1/sessions/current", None, Some(json!({}))).await.refused("bad_request");
    service.call(Method::PUT, "/v1/me", None, None).await.refused("method_not_allowed");
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_using_it_again_ends_the_session() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let first = service.sign_in("ada", PASSWORD).await.text("refresh_token");
    world.advance_ms(3 * MINUTE_MS);
    let second = service.refresh(&first).await.text("refresh_token");
    world.advance_ms(3 * MINUTE_MS);
    let third = service.refresh(&second).await.text("refresh_token");
    service.refresh(&first).await.refused("session_ended");
    service.refresh(&third).await.refused("session_ended");
    assert_eq!(service.metric(r#"klatsch_users_refreshes_total{outcome="Reused"}"#), 1);
}

#[tokio::test]
async fn a_client_that_lost_the_answer_to_a_refresh_gets_it_again_for_a_while() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let first = service.sign_in("ada", PASSWORD).await.text("refresh_token");
    world.advance_ms(3 * MINUTE_MS);
    let second = service.refresh(&first).await.text("refresh_token");
    assert_ne!(second, first);
    assert_eq!(service.refresh(&first).await.text("refresh_token"), second, "the same one, not a second session");
    // Also from another process with the same key.
    service.stop().await;
    let service = world.start().await;
    assert_eq!(service.refresh(&first).await.text("refresh_token"), second);
    world.advance_ms(121_000);
    service.refresh(&first).await.refused("session_ended");
    service.refresh(&second).await.refused("session_ended");
}

#[tokio::test]
async fn many_refreshes_with_one_token_come_to_one_successor() {
    let world = World::new().await;
    let service = Arc::new(world.start().await);
    service.register("ada").await;
    let token = service.sign_in("ada", PASSWORD).await.text("refresh_token");
    world.advance_ms(3 * MINUTE_MS);
    let mut refreshing = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (service, token) = (service.clone(), token.clone());
        refreshing.spawn(async move { service.refresh(&token).await.text("refresh_token") });
    }
    let successors: std::collections::BTreeSet<String> = refreshing.join_all().await.into_iter().collect();
    assert_eq!(successors.len(), 1);
}

#[tokio::test]
async fn a_session_outlives_the_process_and_ends_when_it_is_not_refreshed() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let token = service.sign_in("ada", PASSWORD).await.text("refresh_token");
    service.stop().await;
    let service = world.start().await;
    world.advance_ms(29 * DAY_MS);
    let token = service.refresh(&token).await.text("refresh_token");
    world.advance_ms(29 * DAY_MS);
    let token = service.refresh(&token).await.text("refresh_token");
    world.advance_ms(31 * DAY_MS);
    service.refresh(&token).await.refused("session_ended");
}

#[tokio::test]
async fn an_access_token_signs_its_own_session_out_and_no_other() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let (phone, laptop) = (service.sign_in("ada", PASSWORD).await, service.sign_in("ada", PASSWORD).await);
    for _ in 0..2 {
        let answer =
            service.call(Method::DELETE, "/v1/sessions/current", Some(&phone.text("access_token")), None).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "ended already is fine");
    }
    service.refresh(&phone.text("refresh_token")).await.refused("session_ended");
    assert_eq!(service.refresh(&laptop.text("refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn who_knows_a_sessions_id_alone_cannot_end_it() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let token = service.sign_in("ada", PASSWORD).await.text("refresh_token");
    world.advance_ms(3 * MINUTE_MS);
    let token = service.refresh(&token).await.text("refresh_token");
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    let other = service.sign_in("ada", PASSWORD).await.text("refresh_token");
    let other = URL_SAFE_NO_PAD.decode(&other).unwrap();
    for forged in [[&bytes[..16], &[7; 48]].concat(), [&bytes[..16], &[7; 32], &other[48..]].concat()] {
        let forged = URL_SAFE_NO_PAD.encode(forged);
        service.refresh(&forged).await.refused("unauthorized");
        let body = json!({ "refresh_token": forged });
        service.call(Method::DELETE, "/v1/sessions/current", None, Some(body)).await.refused("unauthorized");
    }
    assert_eq!(service.refresh(&token).await.status, StatusCode::OK, "the session goes on");
}

#[tokio::test]
async fn a_new_signing_key_ends_no_session() {
    let mut world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let (phone, laptop) = (service.sign_in("ada", PASSWORD).await, service.sign_in("ada", PASSWORD).await);
    service.stop().await;
    world.key = SigningKey::generate(&Entropy::seeded(99)).unwrap();
    let service = world.start().await;
    assert_eq!(service.refresh(&phone.text("refresh_token")).await.status, StatusCode::OK);
    let body = json!({ "refresh_token": laptop.text("refresh_token") });
    let answer = service.call(Method::DELETE, "/v1/sessions/current", None, Some(body)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    service.refresh(&laptop.text("refresh_token")).await.refused("session_ended");
}

/// Issue 11, item 6: refresh tokens do not depend on the key that signs access tokens.
#[tokio::test]
async fn a_new_signing_key_changes_nothing_about_refresh_tokens() {
    let mut world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let first = service.sign_in("ada", PASSWORD).await.text("refresh_token");
    world.advance_ms(3 * MINUTE_MS);
    let second = service.refresh(&first).await.text("refresh_token");
    service.stop().await;
    world.key = SigningKey::generate(&Entropy::seeded(99)).unwrap();
    let service = world.start().await;
    assert_eq!(service.refresh(&first).await.text("refresh_token"), second, "the answer was lost behind the change");
    world.advance_ms(3 * MINUTE_MS);
    let third = service.refresh(&second).await.text("refresh_token");
    world.advance_ms(3 * MINUTE_MS);
    service.refresh(&first).await.refused("session_ended");
    service.refresh(&third).await.refused("session_ended");
}

#[tokio::test]
async fn attempts_on_a_name_run_out_whether_it_exists_or_not() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    service.register("bob").await;
    let hashes = service.metric("klatsch_users_password_seconds_count");
    for name in ["ada", "nobody"] {
        for _ in 0..users::ATTEMPTS {
            service.sign_in(name, "wrong password").await.refused("wrong_credentials");
        }
        service.sign_in(name, PASSWORD).await.refused("rate_limited");
    }
    let after = service.metric("klatsch_users_password_seconds_count");
    assert_eq!(after - hashes, u64::from(2 * users::ATTEMPTS), "a name that does not exist costs a hash too");
    assert_eq!(service.sign_in("bob", PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn of_many_who_want_a_name_one_gets_it() {
    let world = World::new().await;
    let (one, other) = (Arc::new(world.start().await), Arc::new(world.start().await));
    let mut wishing = tokio::task::JoinSet::new();
    for number in 0..10 {
        let service = if number % 2 == 0 { one.clone() } else { other.clone() };
        let wish = json!({ "name": "ada", "password": format!("no password {number}") });
        wishing.spawn(async move { service.post("/v1/users", wish).await.status });
    }
    let statuses = wishing.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CREATED).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 9, "{statuses:?}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_in_time_neither_doubles_nor_ends_anything() {
    let mut world = World::new().await;
    let faulty =
        Arc::new(FaultyStore { store: world.store.clone(), creations: Arc::default(), rotations: Arc::default() });
    world.store = faulty.clone();
    let service = world.start().await;
    faulty.creations.lock().unwrap().extend([Fault::Refused, Fault::Unanswered]);
    let user = service.register("ada").await;
    assert_eq!(world.events_of(user, 1).await.len(), 1);
    let token = service.sign_in("ada", PASSWORD).await.text("refresh_token");
    world.advance_ms(3 * MINUTE_MS);
    faulty.rotations.lock().unwrap().extend([Fault::Refused, Fault::Unanswered]);
    let token = service.refresh(&token).await.text("refresh_token");
    world.advance_ms(3 * MINUTE_MS);
    faulty.rotations.lock().unwrap().extend([Fault::Refused; 3]);
    service.refresh(&token).await.refused("unavailable");
    assert_eq!(service.refresh(&token).await.status, StatusCode::OK);
    faulty.creations.lock().unwrap().extend([Fault::Unanswered; 3]);
    service.post("/v1/users", json!({ "name": "bob", "password": PASSWORD })).await.refused("unknown");
    assert_eq!(service.sign_in("bob", PASSWORD).await.status, StatusCode::OK, "it had happened");
}
