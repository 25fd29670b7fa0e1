//! An audit's result as metrics.

use process::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Counts, Fault, Report};

/// The metrics of an audit, set from its report.
///
/// All of them are gauges: they describe the present audit, and a new audit starts them at 0.
#[derive(Debug, Clone)]
pub struct AuditMetrics {
    differences: Family<FaultLabel, Gauge>,
    compared: Family<WhatLabel, Gauge>,
    left_out: Family<WhatLabel, Gauge>,
    next: Family<PartitionLabel, Gauge>,
    finished: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabel {
    fault: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhatLabel {
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: u32,
}

impl AuditMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            differences: metrics.register("audit_differences", "Differences found by this audit", Family::default()),
            compared: metrics.register("audit_compared", "What this audit has looked at", Family::default()),
            left_out: metrics.register("audit_left_out", "What this audit could not look at", Family::default()),
            next: metrics.register("audit_next_offset", "Where this audit stands in chat.messages", Family::default()),
            finished: metrics.register(
                "audit_finished_timestamp_seconds",
                "When this audit came to its end, or last to the end of what could be looked at",
                Gauge::default(),
            ),
        }
    }

    /// Sets them from the report; `finished_ms` is given when the audit has ended.
    pub fn set(&self, report: &Report, finished_ms: Option<i64>) {
        let value = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for fault in Fault::ALL {
            let found = report.differences.get(&fault).copied().unwrap_or(0);
            self.differences.get_or_create(&FaultLabel { fault: fault.name() }).set(value(found));
        }
        let Counts { records, events, accepted, rows, cells, overwritten, states, .. } = report.counts;
        let Counts { delivery_records, deliveries, recipients, repeated, .. } = report.counts;
        for (what, number) in [
            ("records", records),
            ("events", events),
            ("accepted", accepted),
            ("rows", rows),
            ("cells", cells),
            ("overwritten", overwritten),
            ("states", states),
            ("delivery_records", delivery_records),
            ("deliveries", deliveries),
            ("recipients", recipients),
            ("repeated", repeated),
        ] {
            self.compared.get_or_create(&WhatLabel { what }).set(value(number));
        }
        let Counts { storage_lag, fanout_lag, held, unknown, trimmed, .. } = report.counts;
        for (what, number) in [
            ("storage_lag", storage_lag),
            ("fanout_lag", fanout_lag),
            ("held", held),
            ("unknown", unknown),
            ("trimmed", trimmed),
        ] {
            self.left_out.get_or_create(&WhatLabel { what }).set(value(number));
        }
        for (partition, next) in &report.next {
            self.next.get_or_create(&PartitionLabel { partition: *partition }).set(value(*next));
        }
        if let Some(finished) = finished_ms {
            self.finished.set(finished / 1000);
        }
    }
}
