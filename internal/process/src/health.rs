//! Health: whether the process is alive, whether it is ready and if not why, and its metrics.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::Notify;

use crate::Metrics;

/// The name of the condition that fails while a process stops.
const STOPPING: &str = "process";

/// The conditions that must all hold for a process to be ready. Cheap to clone; clones share the conditions.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    shared: Arc<Mutex<Conditions>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Conditions {
    /// The conditions, in the order in which they were added.
    list: Vec<Entry>,
    next: u64,
    stopping: bool,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    name: String,
    /// Why the condition does not hold, a sentence; `None` when it holds.
    reason: Option<String>,
}

/// One condition. It counts until it and its clones are dropped.
#[derive(Debug, Clone)]
#[must_use = "a condition counts only while it is kept"]
pub struct Condition {
    kept: Arc<Kept>,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    readiness: Readiness,
}

/// Why a process is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The name of the condition.
    pub name: String,
    /// Why it does not hold, a sentence.
    pub reason: String,
}

impl Readiness {
    /// Adds a condition that does not hold yet, for this reason.
    pub fn condition(&self, name: impl Into<String>, reason: impl Into<String>) -> Condition {
        let number = self.with(|conditions| {
            let number = conditions.next;
            conditions.next += 1;
            conditions.list.push(Entry { number, name: name.into(), reason: Some(reason.into()) });
            number
        });
        Condition { kept: Arc::new(Kept { number, readiness: self.clone() }) }
    }

    /// The reasons of all conditions that do not hold; empty when the process is ready.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        self.with(|conditions| {
            let failing = conditions
                .list
                .iter()
                .filter_map(|entry| entry.reason.clone().map(|reason| Reason { name: entry.name.clone(), reason }));
            let stopping =
                conditions.stopping.then(|| Reason { name: STOPPING.into(), reason: "it is stopping".into() });
            failing.chain(stopping).collect()
        })
    }

    /// Whether every condition holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }

    /// Waits until every condition holds.
    pub async fn wait(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Changes from here on wake this call.
            changed.as_mut().enable();
            if self.is_ready() {
                return;
            }
            changed.await;
        }
    }

    /// Makes the process unready for good, because it ends.
    pub fn stopping(&self) {
        self.with(|conditions| conditions.stopping = true);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Conditions) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Condition {
    /// Says that the condition holds.
    pub fn ready(&self) {
        self.tell(None);
    }

    /// Says that the condition does not hold, and why: a sentence.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.tell(Some(reason.into()));
    }

    /// Says that the condition does not hold for this reason or, with `None`, that it holds.
    pub fn tell(&self, reason: Option<String>) {
        let changed = self.kept.readiness.with(|conditions| {
            let entry = conditions.list.iter_mut().find(|entry| entry.number == self.kept.number)?;
            let turned = entry.reason.is_some() != reason.is_some();
            entry.reason.clone_from(&reason);
            turned.then(|| entry.name.clone())
        });
        self.kept.readiness.changed.notify_waiters();
        match (changed, reason) {
            (Some(condition), Some(reason)) => tracing::warn!(condition, reason, "not ready"),
            (Some(condition), None) => tracing::info!(condition, "ready"),
            (None, _) => {}
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.readiness.with(|conditions| conditions.list.retain(|entry| entry.number != self.number));
        self.readiness.changed.notify_waiters();
    }
}

/// `/livez` and the bare `/readyz`, for everybody: load balancers need no more, and strangers are told no more.
pub fn public(readiness: Readiness) -> Router {
    let ready = |State(readiness): State<Readiness>| async move {
        let is_ready = readiness.is_ready();
        (status(is_ready), if is_ready { "ready\n" } else { "not ready\n" })
    };
    Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(readiness)
}

/// `/livez`, `/readyz` with its reasons, and `/metrics`, for operators.
pub fn operators(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(HealthState { readiness, metrics })
}

fn status(is_ready: bool) -> StatusCode {
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[derive(Clone)]
struct HealthState {
    readiness: Readiness,
    metrics: Metrics,
}

#[derive(Serialize)]
struct ReadyBody {
    ready: bool,
    reasons: Vec<Reason>,
}

async fn readyz(State(state): State<HealthState>) -> Response {
    let reasons = state.readiness.reasons();
    (status(reasons.is_empty()), axum::Json(ReadyBody { ready: reasons.is_empty(), reasons })).into_response()
}

async fn exposition(State(state): State<HealthState>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.metrics.text()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_every_condition_holds() {
        let readiness = Readiness::default();
        let log = readiness.condition("log", "not connected yet");
        let store = readiness.condition("store", "not connected yet");
        log.ready();
        assert_eq!(readiness.reasons(), [Reason { name: "store".into(), reason: "not connected yet".into() }]);
        store.ready();
        assert!(readiness.is_ready());
        log.not_ready("the broker does not answer");
        assert!(!readiness.is_ready());
        drop(log);
        assert!(readiness.is_ready(), "a condition counts while it is kept");
        readiness.stopping();
        assert!(!readiness.is_ready());
    }

    #[tokio::test]
    async fn readiness_is_waited_for() {
        let readiness = Readiness::default();
        let (log, store) = (readiness.condition("log", "not yet"), readiness.condition("store", "not yet"));
        let waits = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.wait().await }
        });
        log.ready();
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        store.ready();
        waits.await.unwrap();
    }
}
