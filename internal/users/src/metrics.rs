//! The metrics of the user service.

use process::{Latency, Metrics};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The user service's metrics.
#[derive(Debug, Clone)]
pub(crate) struct UsersMetrics {
    pub(crate) registered: Counter,
    pub(crate) sign_ins: Family<Labels, Counter>,
    pub(crate) refreshes: Family<Labels, Counter>,
    pub(crate) sign_outs: Counter,
    pub(crate) password_seconds: Latency,
    pub(crate) published: Counter,
    /// Rows of the outbox that could be neither published nor dropped when they were read last.
    pub(crate) outbox_waiting: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Labels {
    outcome: Outcome,
}

/// How an attempt to sign in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    Done,
    Refused,
    Limited,
    Reused,
}

impl From<Outcome> for Labels {
    fn from(outcome: Outcome) -> Self {
        Self { outcome }
    }
}

impl UsersMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        let outcomes = |name: &str, help: &str| metrics.register(name, help, Family::default());
        Self {
            registered: counter("users_registered", "Accounts made"),
            sign_ins: outcomes("users_sign_ins", "Sign-ins by outcome"),
            refreshes: outcomes("users_refreshes", "Refreshes by outcome"),
            sign_outs: counter("users_sign_outs", "Sessions ended by their users"),
            password_seconds: metrics.register("users_password_seconds", "Time of a password hash", Latency::default()),
            published: counter("users_events_published", "Events of the outbox that the log has taken"),
            outbox_waiting: metrics.register("users_outbox_waiting", "Rows that wait", Gauge::default()),
        }
    }
}
