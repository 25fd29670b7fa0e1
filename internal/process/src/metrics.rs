//! Metrics: a registry that is made in `main` and passed down. There is no global one.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use environment::Clock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::usage::Reading;
use crate::{AppendSeconds, CommandSeconds, Latency, StoreSeconds};

/// What all names of ours begin with.
const PREFIX: &str = "klatsch";

/// A process's metrics. Cheap to clone; clones share the registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The clock of metrics that show an age, or the time since an append.
    clock: Clock,
    registries: Mutex<Registries>,
    /// The metrics of the HTTP servers of this process: all of them count into the same ones.
    http: OnceLock<HttpMetrics>,
    /// The times of commands: those that come over sockets and those that come over HTTP count into the same ones.
    commands: OnceLock<CommandSeconds>,
    /// The times of appends, of whatever engine.
    appends: OnceLock<AppendSeconds>,
    /// The times of requests to the store, of whatever engine.
    store: OnceLock<StoreSeconds>,
}

#[derive(Debug)]
struct Registries {
    /// Our own metrics.
    ours: Registry,
    /// Metrics under names that every program has.
    common: Registry,
    /// Everything that was registered, in order.
    described: Vec<Described>,
}

/// A metric that was registered, whether it has a series by now or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Described {
    /// Its name as it is served. That of a histogram is followed by `_bucket`, `_count` and `_sum` there.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// What it is, in words.
    pub help: String,
}

impl Metrics {
    /// A registry whose metrics begin with `klatsch_`, and whose ages are told by the operating system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// A registry whose ages are told by that clock.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        let (ours, common) = (Registry::with_prefix(PREFIX), Registry::default());
        let registries = Mutex::new(Registries { ours, common, described: Vec::new() });
        let (http, commands) = (OnceLock::new(), OnceLock::new());
        let (appends, store) = (OnceLock::new(), OnceLock::new());
        Self { shared: Arc::new(Shared { clock, registries, http, commands, appends, store }) }
    }

    /// The clock of metrics that show an age, or the time since an append. Nothing else may depend on it.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Registers a metric and returns it. Names end with their unit; a counter's `_total` is added.
    ///
    /// A name must be registered once: a service's metrics are made where the service is made.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut registries = self.registries();
        registries.describe(&format!("{PREFIX}_{name}"), help, metric.metric_type());
        registries.ours.register(name, help, metric.clone());
        metric
    }

    /// Registers a gauge that is read whenever the metrics are; `None` is not shown. Reading it must not block.
    pub fn register_read(&self, name: &str, help: &str, read: impl Fn() -> Option<f64> + Send + Sync + 'static) {
        self.register(name, help, Reading::new(MetricType::Gauge, read));
    }

    /// Registers a metric under a name that every program has, without our prefix.
    pub(crate) fn register_common<M: Metric>(&self, name: &str, help: &str, metric: M) {
        let mut registries = self.registries();
        registries.describe(name, help, metric.metric_type());
        registries.common.register(name, help, metric);
    }

    /// Everything that was registered, sorted by name, also what has no series yet.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        let mut described = self.registries().described.clone();
        described.sort_unstable();
        described
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let (mut text, registries) = (String::new(), self.registries());
        let written = encode_registry(&mut text, &registries.ours)
            .and_then(|()| encode_registry(&mut text, &registries.common))
            .and_then(|()| encode_eof(&mut text));
        if written.is_err() {
            tracing::error!("metrics could not be written");
        }
        text
    }

    /// The times of commands.
    #[must_use]
    pub fn commands(&self) -> &CommandSeconds {
        self.shared.commands.get_or_init(|| CommandSeconds::new(self))
    }

    /// The times of appends to the log.
    #[must_use]
    pub fn appends(&self) -> &AppendSeconds {
        self.shared.appends.get_or_init(|| AppendSeconds::new(self))
    }

    /// The times of requests to the store.
    #[must_use]
    pub fn store(&self) -> &StoreSeconds {
        self.shared.store.get_or_init(|| StoreSeconds::new(self))
    }

    pub(crate) fn http(&self) -> &HttpMetrics {
        self.shared.http.get_or_init(|| HttpMetrics::new(self))
    }

    fn registries(&self) -> MutexGuard<'_, Registries> {
        self.shared.registries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registries {
    fn describe(&mut self, name: &str, help: &str, kind: MetricType) {
        let suffix = match kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        let (name, kind, help) = (format!("{name}{suffix}"), kind.as_str().to_owned(), help.to_owned());
        self.described.push(Described { name, kind, help });
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The metrics that every HTTP server counts.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) request_seconds: Family<RouteLabels, Latency>,
    pub(crate) connections: Gauge,
    pub(crate) let_go: Counter,
}

/// The labels of a request. They come from closed sets: a route is the router's own pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) method: String,
    pub(crate) route: String,
    pub(crate) status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    pub(crate) method: String,
    pub(crate) route: String,
}

impl HttpMetrics {
    fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.register("http_requests", "Requests by route and status", Family::default()),
            request_seconds: metrics.register("http_request_seconds", "Time to answer by route", Family::default()),
            connections: metrics.register("http_connections", "Open connections, sockets included", Gauge::default()),
            let_go: metrics.register(
                "http_connections_let_go",
                "Connections closed to make room for others, or refused because their address has enough",
                Counter::default(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_was_registered() {
        let metrics = Metrics::new();
        let counter = metrics.register("logins", "Sign-ins", Counter::<u64>::default());
        counter.inc();
        assert!(metrics.text().contains("klatsch_logins_total 1"), "{}", metrics.text());
        assert!(metrics.text().ends_with("# EOF\n"), "{}", metrics.text());
        let described =
            Described { name: "klatsch_logins_total".into(), kind: "counter".into(), help: "Sign-ins".into() };
        assert_eq!(metrics.described(), [described]);
    }
}
