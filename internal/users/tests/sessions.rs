//! What a user does about sessions, from outside (issue 10, item 10).
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use domain::UserId;
use reqwest::{Method, StatusCode};
use serde_json::json;
use store::Session;
use world::{Answer, NOW_MS, PASSWORD, Service, World};

const MINUTE_MS: i64 = 60_000;

impl Service {
    async fn delete(&self, path: &str, token: &str) -> Answer {
        self.call(Method::DELETE, path, Some(token), None).await
    }

    async fn labelled(&self, label: &str) -> Answer {
        self.post("/v1/sessions", json!({ "name": "ada", "password": PASSWORD, "label": label })).await
    }
}

/// The labels of the list, in its order, and the id of each session.
fn listed(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let sessions = answer.body["sessions"].as_array().unwrap_or_else(|| panic!("{}", answer.body));
    sessions.iter().map(|session| (text(&session["label"]), text(&session["id"]))).collect()
}

#[tokio::test]
async fn a_session_that_ends_takes_its_access_token_along_on_every_node() {
    let world = World::new().await;
    let (here, there) = (world.start().await, world.start().await);
    here.register("ada").await;
    let (phone, laptop) = (here.sign_in("ada", PASSWORD).await, here.sign_in("ada", PASSWORD).await);
    let token = phone.text("access_token");
    assert_eq!(here.delete("/v1/sessions/current", &token).await.status, StatusCode::NO_CONTENT);
    here.get("/v1/me", &token).await.refused("session_ended");
    let refused = async {
        while there.get("/v1/me", &token).await.status == StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), refused).await.expect("within a second on another node");
    assert_eq!(here.get("/v1/me", &laptop.text("access_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_tab_that_is_one_rotation_behind_goes_on_and_so_does_the_other() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let first = service.sign_in("ada", PASSWORD).await.text("refresh_token");
    world.advance_ms(15 * MINUTE_MS);
    let second = service.refresh(&first).await.text("refresh_token");
    for late_ms in [0, 1_000, 60_000] {
        world.advance_ms(late_ms);
        let third = service.refresh(&second).await.text("refresh_token");
        assert_eq!(service.refresh(&first).await.text("refresh_token"), second, "seconds later");
        assert_eq!(service.refresh(&third).await.status, StatusCode::OK, "and the tab that did everything right");
    }
}

#[tokio::test]
async fn a_user_sees_all_sessions_and_ends_one_or_all_others() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    service.register("bob").await;
    let bob = service.sign_in("bob", PASSWORD).await;
    let mut sessions = Vec::new();
    for label in ["phone", "laptop", "tablet"] {
        world.advance_ms(1_000);
        sessions.push(service.labelled(label).await);
    }
    let token = sessions[0].text("access_token");
    world.advance_ms(3 * MINUTE_MS);
    service.refresh(&sessions[0].text("refresh_token")).await;
    let list = service.get("/v1/sessions", &token).await;
    let labels: Vec<String> = listed(&list).into_iter().map(|(label, _)| label).collect();
    assert_eq!(labels, ["phone", "tablet", "laptop"], "the one used last first");
    assert_eq!(list.body["sessions"][0]["begun"], NOW_MS + 1_000);
    assert_eq!(list.body["sessions"][0]["used"], NOW_MS + 3_000 + 3 * MINUTE_MS);
    assert_eq!(
        (&list.body["sessions"][0]["current"], &list.body["sessions"][1]["current"]),
        (&json!(true), &json!(false))
    );
    let laptop = format!("/v1/sessions/{}", listed(&list)[2].1);
    service.delete(&laptop, &bob.text("access_token")).await.refused("not_found");
    assert_eq!(service.delete(&laptop, &token).await.status, StatusCode::NO_CONTENT);
    service.delete(&laptop, &token).await.refused("not_found");
    service.get("/v1/me", &sessions[1].text("access_token")).await.refused("session_ended");
    service.delete("/v1/sessions/none", &token).await.refused("bad_request");
    assert_eq!(service.delete("/v1/sessions/others", &token).await.status, StatusCode::NO_CONTENT);
    service.get("/v1/me", &sessions[2].text("access_token")).await.refused("session_ended");
    service.refresh(&sessions[2].text("refresh_token")).await.refused("session_ended");
    assert_eq!(listed(&service.get("/v1/sessions", &token).await).len(), 1);
    assert_eq!(service.get("/v1/me", &bob.text("access_token")).await.status, StatusCode::OK);
    let too_long = "x".repeat(65);
    service.labelled(&too_long).await.refused("invalid");
}

#[tokio::test]
async fn another_password_ends_all_other_sessions() {
    let world = World::new().await;
    let service = world.start().await;
    let user = service.register("ada").await;
    let (mine, other) = (service.sign_in("ada", PASSWORD).await, service.sign_in("ada", PASSWORD).await);
    // A session from before there was a list.
    let old = Session { id: [9; 16], user, secret_hash: [9; 32], expires_ms: NOW_MS + MINUTE_MS, family: None };
    world.store.create_session(&old).await.unwrap();
    let token = mine.text("access_token");
    let change = async |current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new });
        service.call(Method::PUT, "/v1/me/password", Some(&token), Some(body)).await
    };
    change("wrong password", "another horse").await.refused("wrong_credentials");
    change(PASSWORD, "password1").await.refused("invalid");
    assert_eq!(service.get("/v1/me", &other.text("access_token")).await.status, StatusCode::OK);
    assert_eq!(change(PASSWORD, "another horse").await.status, StatusCode::NO_CONTENT);
    service.get("/v1/me", &other.text("access_token")).await.refused("session_ended");
    assert_eq!(service.get("/v1/me", &token).await.status, StatusCode::OK);
    assert_eq!(service.refresh(&mine.text("refresh_token")).await.status, StatusCode::OK);
    assert!(world.store.sessions_cut(user).await.unwrap().is_some(), "ends those that are in no list");
    service.sign_in("ada", PASSWORD).await.refused("wrong_credentials");
    let late = service.sign_in("ada", "another horse").await;
    assert_eq!(late.status, StatusCode::OK);
    // Sent again, as by who has heard nothing: if the first one was cut short behind the password, this one ends the rest.
    assert_eq!(change(PASSWORD, "another horse").await.status, StatusCode::NO_CONTENT);
    service.get("/v1/me", &late.text("access_token")).await.refused("session_ended");
    assert_eq!(service.get("/v1/me", &token).await.status, StatusCode::OK);
}

/// Behind one address, twenty wrong passwords of a stranger for a name were the owner's, too.
#[tokio::test]
async fn strangers_who_try_passwords_keep_nobody_from_changing_theirs() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let mine = service.sign_in("ada", PASSWORD).await;
    for _ in 0..60 {
        service.sign_in("ada", "wrong password").await;
    }
    service.sign_in("ada", "wrong password").await.refused("rate_limited");
    let body = json!({ "current_password": PASSWORD, "new_password": "another horse" });
    let token = mine.text("access_token");
    let changed = service.call(Method::PUT, "/v1/me/password", Some(&token), Some(body)).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_session_from_before_there_was_a_list_goes_on_until_all_are_ended() {
    let world = World::new().await;
    let service = world.start().await;
    let user: UserId = service.register("ada").await;
    let (one, two) = (service.sign_in("ada", PASSWORD).await, service.sign_in("ada", PASSWORD).await);
    for session in world.store.sessions_of(user).await.unwrap() {
        // As an earlier version left it: without a row in the list.
        let stored = world.store.session(&session.id).await.unwrap().unwrap();
        world.store.end_session(user, &session.id, 0).await.unwrap();
        world.store.create_session(&stored).await.unwrap();
    }
    world.advance_ms(15 * MINUTE_MS);
    let one = service.refresh(&one.text("refresh_token")).await;
    assert_eq!(world.store.sessions_of(user).await.unwrap().len(), 1, "listed from now on");
    let others = service.delete("/v1/sessions/others", &one.text("access_token")).await;
    assert_eq!(others.status, StatusCode::NO_CONTENT);
    service.refresh(&two.text("refresh_token")).await.refused("session_ended");
    world.advance_ms(15 * MINUTE_MS);
    assert_eq!(service.refresh(&one.text("refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_user_has_so_many_sessions_and_the_idle_one_gives_way() {
    let world = World::new().await;
    let service = world.start().await;
    let user = service.register("ada").await;
    let first = service.sign_in("ada", PASSWORD).await;
    for _ in 0..users::SESSIONS_PER_USER_MAX {
        world.advance_ms(1);
        assert_eq!(service.sign_in("ada", PASSWORD).await.status, StatusCode::OK);
    }
    assert_eq!(world.store.sessions_of(user).await.unwrap().len(), users::SESSIONS_PER_USER_MAX);
    service.refresh(&first.text("refresh_token")).await.refused("session_ended");
}

#[tokio::test]
async fn a_device_that_signed_in_before_has_attempts_of_its_own() {
    let world = World::new().await;
    let service = world.start().await;
    service.register("ada").await;
    let device = service.sign_in("ada", PASSWORD).await.text("device_token");
    for _ in 0..users::ATTEMPTS {
        service.sign_in("ada", "wrong password").await.refused("wrong_credentials");
    }
    service.sign_in("ada", PASSWORD).await.refused("rate_limited");
    let body = json!({ "name": "ada", "password": PASSWORD, "device_token": device });
    let answer = service.post("/v1/sessions", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.text("device_token"), device, "it stays that device");
}

#[tokio::test]
async fn an_account_from_before_passwords_were_normalised_signs_in_and_is_carried_over() {
    let world = World::new().await;
    let service = world.start().await;
    let user = service.register("ada").await;
    let account = world.store.account(user).await.unwrap().unwrap();
    // The hash of the password with its ligature, at the least cost, as an earlier version of the service made it.
    let typed = "\u{FB01}ligrane pass";
    let params = argon2::Params::new(argon2::Params::MIN_M_COST, 1, 1, None).unwrap();
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let earlier =
        argon2::PasswordHasher::hash_password_with_salt(&hasher, typed.as_bytes(), &[7; 16]).unwrap().to_string();
    assert!(world.store.set_password(user, &account.password_hash, &earlier).await.unwrap());
    service.sign_in("ada", "filigrane pass").await.refused("wrong_credentials");
    assert_eq!(service.sign_in("ada", typed).await.status, StatusCode::OK);
    assert_ne!(world.store.account(user).await.unwrap().unwrap().password_hash, earlier);
    assert_eq!(service.sign_in("ada", "filigrane pass").await.status, StatusCode::OK);
    assert_eq!(service.sign_in("ada", typed).await.status, StatusCode::OK);
}
