//! What a program counts of its engines, whichever they are: appends to the log, and requests to the store.

use eventlog::{AppendObserver, AppendOutcome};
use process::Metrics;
use store::observer::Observer;

/// Counts a log's appends.
#[must_use]
pub fn appends(metrics: &Metrics) -> AppendObserver {
    let appends = metrics.appends().clone();
    AppendObserver::new(move |topic, outcome, took| match outcome {
        AppendOutcome::Acknowledged { append_time_ms } => appends.acknowledged(topic, took, append_time_ms),
        AppendOutcome::Failed => appends.failed(topic),
    })
}

/// Counts a store's requests.
#[must_use]
pub fn store_requests(metrics: &Metrics) -> Observer {
    let requests = metrics.store().clone();
    Observer::new(move |op, outcome, waited| requests.observe(op.name(), outcome.name(), waited))
}
