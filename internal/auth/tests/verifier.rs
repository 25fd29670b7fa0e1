//! Tokens, good and bad, as a service meets them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use auth::{Jwks, KeyRing, SigningKey, TokenError, Verifier};
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use domain::UserId;
use environment::{Clock, Entropy};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const NOW_MS: i64 = 1_750_000_000_000;
const TTL: Duration = Duration::from_secs(900);

fn user() -> UserId {
    "936da01f-9abd-4d9d-80c7-02af85c822a8".parse().unwrap()
}

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&Entropy::seeded(seed)).unwrap()
}

fn verifier(key: &SigningKey, now_ms: i64) -> Verifier {
    Verifier::new(&key.jwks(), Clock::from_fn(move || now_ms)).unwrap()
}

fn reason(result: Result<auth::Claims, TokenError>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn a_token_says_who_and_until_when() {
    let key = key(1);
    let claims = verifier(&key, NOW_MS).verify(&key.sign(user(), Some([7; 16]), NOW_MS, TTL).unwrap()).await.unwrap();
    assert_eq!(claims, auth::Claims { user: user(), session: Some([7; 16]), expires_ms: NOW_MS + 900_000 });
}

#[tokio::test]
async fn expiry_is_judged_by_the_clock_that_was_passed_in() {
    let key = key(1);
    let token = key.sign(user(), None, NOW_MS, TTL).unwrap();
    assert!(verifier(&key, NOW_MS + 929_999).verify(&token).await.is_ok(), "inside the leeway");
    let late = verifier(&key, NOW_MS + 930_000).verify(&token).await;
    assert!(matches!(late, Err(TokenError::Expired)));
}

#[tokio::test]
async fn a_tampered_token_is_refused() {
    let key = key(1);
    let token = key.sign(user(), None, NOW_MS, TTL).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let other = String::from_utf8(BASE64.decode(parts[1]).unwrap()).unwrap().replace("936da01f", "936da01e");
    let tampered = format!("{}.{}.{}", parts[0], BASE64.encode(other), parts[2]);
    assert!(reason(verifier(&key, NOW_MS).verify(&tampered).await).contains("signature"));
    for torn in ["", ".", "..", "a.b.c", &token[..token.len() - 10], &"a".repeat(5000)] {
        assert!(matches!(verifier(&key, NOW_MS).verify(torn).await, Err(TokenError::Invalid(_))), "{torn}");
    }
}

/// A token with a valid signature of `key` over claims that only an attacker or a bug would make.
fn forged(pem_der: &EncodingKey, header: &Header, change: &serde_json::Value) -> String {
    let mut claims = json!({
        "iss": "klatsch", "aud": "klatsch", "sub": user(), "iat": NOW_MS / 1000, "exp": NOW_MS / 1000 + 900, "jti": "x",
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    jsonwebtoken::encode(header, &claims, pem_der).unwrap()
}

#[tokio::test]
async fn tokens_for_others_or_with_other_algorithms_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let ring = KeyRing::open(&path, &Clock::from_fn(|| NOW_MS), &Entropy::seeded(1)).unwrap();
    let signing = EncodingKey::from_ed_pem(&std::fs::read(&path).unwrap()).unwrap();
    let kid = Some(ring.jwks().keys[0].kid.clone());
    let header = Header { kid: kid.clone(), ..Header::new(Algorithm::EdDSA) };
    let verifier = Verifier::of_ring(ring.clone(), Clock::from_fn(|| NOW_MS));
    assert!(verifier.verify(&forged(&signing, &header, &json!({}))).await.is_ok());
    for (change, words) in [
        (json!({ "aud": "elsewhere" }), "audience"),
        (json!({ "iss": "elsewhere" }), "issuer"),
        (json!({ "sub": "not an id" }), "malformed"),
        (json!({ "exp": null }), "malformed"),
        (json!({ "sid": "!" }), "session"),
    ] {
        let reason = reason(verifier.verify(&forged(&signing, &header, &change)).await);
        assert!(reason.contains(words), "{change}: {reason}");
    }
    // The public key used as the secret of a symmetric algorithm: the classic confusion.
    let public = BASE64.decode(&ring.jwks().keys[0].x).unwrap();
    let symmetric = Header { kid, ..Header::new(Algorithm::HS256) };
    let confused = forged(&EncodingKey::from_secret(&public), &symmetric, &json!({}));
    assert!(reason(verifier.verify(&confused).await).contains("EdDSA"));
    let unsigned = format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), BASE64.encode("{}"));
    assert!(matches!(verifier.verify(&unsigned).await, Err(TokenError::Invalid(_))));
    let nameless = forged(&signing, &Header::new(Algorithm::EdDSA), &json!({}));
    assert!(reason(verifier.verify(&nameless).await).contains("names no key"));
}

/// A user service that publishes the keys that are set, and counts the requests.
struct Publisher {
    url: String,
    asked: Arc<AtomicUsize>,
    shown: Arc<std::sync::Mutex<Option<Jwks>>>,
}

async fn publisher() -> Publisher {
    let (asked, shown) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(None::<Jwks>)));
    let (count, show) = (asked.clone(), shown.clone());
    let answer = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        let jwks = show.lock().unwrap().clone();
        jwks.map_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response(), |jwks| axum::Json(jwks).into_response())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let router: Router = Router::new().route(
        "/jwks.json",
        get(move || -> std::pin::Pin<Box<dyn Future<Output = Response> + Send>> { Box::pin(answer.clone()()) }),
    );
    tokio::spawn(axum::serve(listener, router).into_future());
    Publisher { url, asked, shown }
}

fn following(publisher: &Publisher) -> Verifier {
    Verifier::remote(&publisher.url, Clock::from_fn(|| NOW_MS), Entropy::seeded(1)).unwrap()
}

#[tokio::test]
async fn an_unknown_key_is_fetched_once_for_all_who_wait() {
    let publisher = publisher().await;
    let key = key(1);
    *publisher.shown.lock().unwrap() = Some(key.jwks());
    let verifier = following(&publisher);
    let token = key.sign(user(), None, NOW_MS, TTL).unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (verifier, token) = (verifier.clone(), token.clone());
        waiting.spawn(async move { verifier.verify(&token).await });
    }
    for result in waiting.join_all().await {
        result.unwrap();
    }
    assert_eq!(publisher.asked.load(Ordering::SeqCst), 1);
    verifier.verify(&token).await.unwrap();
    assert_eq!(publisher.asked.load(Ordering::SeqCst), 1, "verification is local");
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_not_passed_on_and_a_new_key_is_found() {
    let publisher = publisher().await;
    let (old, new) = (key(1), key(2));
    *publisher.shown.lock().unwrap() = Some(old.jwks());
    let verifier = following(&publisher);
    verifier.verify(&old.sign(user(), None, NOW_MS, TTL).unwrap()).await.unwrap();
    let fresh = new.sign(user(), None, NOW_MS, TTL).unwrap();
    // Right after a fetch, an unknown key is not decided.
    tokio::time::pause();
    for _ in 0..50 {
        assert!(matches!(verifier.verify(&fresh).await, Err(TokenError::KeysUnavailable)));
    }
    assert_eq!(publisher.asked.load(Ordering::SeqCst), 1);
    let both = Jwks { keys: [old.jwks().keys, new.jwks().keys].concat() };
    *publisher.shown.lock().unwrap() = Some(both);
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    verifier.verify(&fresh).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    let stranger = key(3).sign(user(), None, NOW_MS, TTL).unwrap();
    assert!(reason(verifier.verify(&stranger).await).contains("known key"));
}

#[tokio::test]
async fn following_goes_on_until_the_keys_are_there() {
    let publisher = publisher().await;
    let key = key(1);
    let verifier = following(&publisher);
    let token = key.sign(user(), None, NOW_MS, TTL).unwrap();
    assert!(matches!(verifier.verify(&token).await, Err(TokenError::KeysUnavailable)), "not a verdict on the token");
    let (shutdown, reports) = (CancellationToken::new(), Arc::new(AtomicI64::new(0)));
    let (ready, waiting) = tokio::sync::watch::channel(false);
    let follower = tokio::spawn({
        let (verifier, shutdown, reports, shown, jwks) =
            (verifier.clone(), shutdown.clone(), reports.clone(), publisher.shown.clone(), key.jwks());
        async move {
            let report = |outcome: Result<(), &auth::JwksError>| {
                // The publisher comes up after the second failure.
                if outcome.is_err() && reports.fetch_add(1, Ordering::SeqCst) == 1 {
                    *shown.lock().unwrap() = Some(jwks.clone());
                }
                ready.send_replace(outcome.is_ok());
            };
            verifier.follow(shutdown, report).await;
        }
    });
    let mut waiting = waiting;
    waiting.wait_for(|ready| *ready).await.unwrap();
    assert!(reports.load(Ordering::SeqCst) >= 2);
    verifier.verify(&token).await.unwrap();
    shutdown.cancel();
    follower.await.unwrap();
}

#[tokio::test]
async fn keys_come_from_a_file_too() {
    let (folder, key) = (tempfile::tempdir().unwrap(), key(1));
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, serde_json::to_vec(&key.jwks()).unwrap()).unwrap();
    let verifier = Verifier::remote(path.to_str().unwrap(), Clock::from_fn(|| NOW_MS), Entropy::seeded(1)).unwrap();
    verifier.verify(&key.sign(user(), None, NOW_MS, TTL).unwrap()).await.unwrap();
    let error = Verifier::remote("ftp://x/y", Clock::system(), Entropy::seeded(1)).unwrap_err();
    assert!(error.to_string().contains("http://"), "{error}");
}
