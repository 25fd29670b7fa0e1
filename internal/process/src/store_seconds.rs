//! The time of requests to the store: the same for every engine.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use crate::{Latency, Metrics};

/// The times of requests to the store, by operation and outcome. Cheap to clone; clones share the counts.
#[derive(Debug, Clone)]
pub struct StoreSeconds {
    seconds: Family<Labels, Latency>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    op: &'static str,
    outcome: &'static str,
}

impl StoreSeconds {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let words = "Time of a request to the store, its wait for a permit or for the writer included, by operation and \
                     outcome";
        Self { seconds: metrics.register("store_request_seconds", words, Family::default()) }
    }

    /// A request has ended. Both names come from closed sets.
    pub fn observe(&self, op: &'static str, outcome: &'static str, waited: Duration) {
        self.seconds.get_or_create(&Labels { op, outcome }).observe(waited);
    }
}
