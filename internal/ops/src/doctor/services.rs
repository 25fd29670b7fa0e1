//! What answers over HTTP: the registry, the keys, the services.

use std::time::Duration;

use serde::Deserialize;

use crate::doctor::Findings;
use crate::schemas;

/// How long one question may take.
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

pub(crate) async fn keys(location: Option<&str>, found: &mut Findings) {
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
        let keys = serde_json::from_slice::<auth::Jwks>(&body).map_err(|error| format!("{location}: {error}"))?;
        if keys.keys.is_empty() { Err(format!("{location} has no key in it")) } else { Ok(keys.keys.len()) }
    });
    match keys {
        Ok(keys) => found.ok("keys", format!("{keys} published at {location}")),
        Err(words) => found.fail("keys", words),
    }
}

#[derive(Deserialize)]
struct ReadyBody {
    /// Left out where strangers may ask.
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
        // The public listener says no more than that.
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

/// Status and body.
async fn get(url: &str) -> Result<(u16, Vec<u8>), String> {
    let client = reqwest::Client::builder().timeout(ANSWER_WAIT).no_proxy().build();
    let client = client.map_err(|error| error.to_string())?;
    let silent = |error: reqwest::Error| format!("{url} does not answer: {}", innermost(&error));
    let response = client.get(url).send().await.map_err(silent)?;
    let status = response.status().as_u16();
    Ok((status, response.bytes().await.map_err(silent)?.to_vec()))
}

/// The innermost cause says it ("connection refused"); those above it repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() }
}
