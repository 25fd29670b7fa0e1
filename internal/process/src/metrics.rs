//! Metrics: a registry that is made in `main` and passed down. There is no global one.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// A process's metrics. Cheap to clone; clones share the registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Mutex<Registry>,
    /// The metrics of the HTTP servers of this process: all of them count into the same ones.
    http: OnceLock<HttpMetrics>,
}

impl Metrics {
    /// A registry whose metrics all begin with `klatsch_`.
    #[must_use]
    pub fn new() -> Self {
        let registry = Mutex::new(Registry::with_prefix("klatsch"));
        Self { shared: Arc::new(Shared { registry, http: OnceLock::new() }) }
    }

    /// Registers a metric and returns it. Names end with their unit; a counter's `_total` is added.
    ///
    /// A name must be registered once: a service's metrics are made where the service is made.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.with(|registry| registry.register(name, help, metric.clone()));
        metric
    }

    /// Gives access to the registry, for what [`Metrics::register`] does not cover.
    pub fn with<T>(&self, act: impl FnOnce(&mut Registry) -> T) -> T {
        act(&mut self.shared.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let written = self.with(|registry| prometheus_client::encoding::text::encode(&mut text, registry));
        if written.is_err() {
            tracing::error!("metrics could not be written");
        }
        text
    }

    pub(crate) fn http(&self) -> &HttpMetrics {
        self.shared.http.get_or_init(|| HttpMetrics::new(self))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Buckets for durations in seconds, from 0.25 ms to 8 s.
pub fn seconds_buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.000_25, 2.0, 16)
}

/// The metrics that every HTTP server counts.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) request_seconds: Family<RouteLabels, Histogram>,
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
        let seconds = Family::new_with_constructor((|| Histogram::new(seconds_buckets())) as fn() -> Histogram);
        Self {
            requests: metrics.register("http_requests", "Requests by route and status", Family::default()),
            request_seconds: metrics.register("http_request_seconds", "Time to answer by route", seconds),
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
    }
}
