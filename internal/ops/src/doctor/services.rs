//! The parts that answer over HTTP: the registry, the keys, the services.

use std::time::Duration;

use auth::Jwks;
use environment::Clock;
use serde::Deserialize;

use crate::doctor::Findings;
use crate::keys::WARNED_BEFORE;
use crate::schemas;

/// How long one request may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

pub(crate) async fn registry(url: Option<&str>, found: &mut Findings) {
    let Some(url) = url else { return found.ok("registry", "none configured: schemas are those compiled in") };
    match schemas::check(url).await {
        Err(error) => found.fail("registry", error.to_string()),
        Ok(reports) => {
            let (good, bad): (Vec<_>, Vec<_>) = reports.into_iter().partition(|report| report.compatible);
            for report in bad {
                let reason = report.reason.unwrap_or_default();
                found.fail("registry", format!("{} cannot be registered: {reason}", report.subject));
            }
            found.ok("registry", format!("{} schemas go with it", good.len()));
        }
    }
}

pub(crate) async fn keys(location: Option<&str>, clock: &Clock, found: &mut Findings) {
    let Some(location) = location else { return };
    let document = if location.contains("://") {
        match get(location).await {
            Ok((200, body)) => Ok(body),
            Ok((status, _)) => Err(format!("{location} answers {status}")),
            Err(error) => Err(error),
        }
    } else {
        tokio::fs::read(location).await.map_err(|error| format!("{location}: {error}"))
    };
    let keys = document.and_then(|body| {
        let keys = serde_json::from_slice::<Jwks>(&body).map_err(|error| format!("{location}: {error}"))?;
        if keys.keys.is_empty() { Err(format!("{location} has no key in it")) } else { Ok(keys) }
    });
    match keys {
        Ok(keys) => ring(&keys, location, clock.now_ms(), found),
        Err(words) => found.fail("keys", words),
    }
}

/// Reports whether one of the published keys signs now, and until when.
fn ring(keys: &Jwks, location: &str, now_ms: i64, found: &mut Findings) {
    let count = keys.keys.len();
    let remedy = "add one with 'klatschctl keys add'";
    match keys.signs_until_ms(now_ms).map(|until_ms| until_ms - now_ms) {
        Some(..=0) => found.fail("keys", format!("none of {count} published at {location} signs now: {remedy}")),
        Some(left_ms) if u128::from(left_ms.unsigned_abs()) < WARNED_BEFORE.as_millis() => {
            let hours = left_ms / 3_600_000;
            found.warn("keys", format!("none of {count} published at {location} signs in {hours} hours: {remedy}"));
        }
        _ => found.ok("keys", format!("{count} published at {location}")),
    }
}

#[derive(Deserialize)]
struct ReadyBody {
    /// Absent on the public listener.
    #[serde(default)]
    reasons: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    name: String,
    reason: String,
}

pub(crate) async fn ready(url: &str, found: &mut Findings) {
    let subject = format!("service at {url}");
    let answer = get(&format!("{}/readyz", url.trim_end_matches('/'))).await;
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(words) => return found.fail(subject, words),
    };
    match (status, serde_json::from_slice::<ReadyBody>(&body)) {
        // The public listener does not give reasons.
        (200, _) => found.ok(subject, "ready"),
        (503, Err(_)) => {
            found.fail(subject, "not ready: why is said by its operators' listener (--ops-listen, port + 1000)");
        }
        (_, Ok(body)) => {
            if body.reasons.is_empty() {
                found.fail(&*subject, format!("not ready (it answers {status}), and does not say why here"));
            }
            for reason in body.reasons {
                found.fail(&*subject, format!("not ready, {}: {}", reason.name, reason.reason));
            }
        }
        (status, Err(_)) => found.fail(subject, format!("answers {status}, and not as a service of Klatsch does")),
    }
}

/// Sends a GET request; returns status and body.
async fn get(url: &str) -> Result<(u16, Vec<u8>), String> {
    let client = reqwest::Client::builder().timeout(ANSWER_WAIT).no_proxy().build();
    let client = client.map_err(|error| error.to_string())?;
    let silent = |error: reqwest::Error| format!("{url} does not answer: {}", innermost(&error));
    let response = client.get(url).send().await.map_err(silent)?;
    let status = response.status().as_u16();
    Ok((status, response.bytes().await.map_err(silent)?.to_vec()))
}

/// The innermost cause names the fault ("connection refused"); those above it repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_ring_that_is_about_to_have_no_signing_key_is_told() {
        let of = |until: Option<i64>| {
            let until = until.map_or_else(String::new, |seconds| format!(r#","use_until":{seconds}"#));
            let keys = format!(
                r#"{{"keys":[{{"kty":"OKP","kid":"a"{until}}},{{"kty":"OKP","kid":"b","use_from":900,"use_until":1000}}]}}"#
            );
            let mut found = Findings::default();
            ring(&serde_json::from_str(&keys).unwrap(), "x", 500_000, &mut found);
            (found.worst(), found.0[0].words.clone())
        };
        let week = i64::try_from(WARNED_BEFORE.as_secs()).unwrap();
        for (until, level) in [(Some(400), Level::Fail), (Some(800), Level::Warn), (None, Level::Warn)] {
            let (found, words) = of(until);
            assert!(found == level && words.contains("keys add"), "{until:?}: {words}");
        }
        let mut found = Findings::default();
        let late = format!(r#"{{"keys":[{{"kty":"OKP","use_until":{}}}]}}"#, 501 + week);
        ring(&serde_json::from_str(&late).unwrap(), "x", 500_000, &mut found);
        ring(&serde_json::from_str(r#"{"keys":[{"kty":"OKP"}]}"#).unwrap(), "x", 500_000, &mut found);
        assert_eq!(found.worst(), Level::Ok);
    }
}
