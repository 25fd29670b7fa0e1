//! A gauge whose series are computed whenever the metrics are read, so that what is gone is not shown any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// A gauge by label set. Cheap to clone; clones share the computation.
#[derive(Clone)]
pub struct Computed<L> {
    read: Arc<Read<L>>,
}

type Read<L> = dyn Fn() -> BTreeMap<L, u64> + Send + Sync;

impl<L> Computed<L> {
    /// The values that `read` returns, which must not block.
    pub fn new(read: impl Fn() -> BTreeMap<L, u64> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read) }
    }
}

impl<L: EncodeLabelSet> EncodeMetric for Computed<L> {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        for (labels, value) in (self.read)() {
            encoder.encode_family(&labels)?.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        (self.read)().is_empty()
    }
}

impl<L> fmt::Debug for Computed<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{Metrics, PartitionLabel};

    #[test]
    fn a_series_is_gone_with_what_it_was_computed_from() {
        let metrics = Metrics::new();
        let known = Arc::new(Mutex::new(BTreeMap::from([(PartitionLabel { partition: 4 }, 17)])));
        let read = Arc::clone(&known);
        metrics.register("things", "Things", Computed::new(move || read.lock().unwrap().clone()));
        assert!(metrics.text().contains("klatsch_things{partition=\"4\"} 17\n"), "{}", metrics.text());
        known.lock().unwrap().clear();
        assert!(!metrics.text().contains("klatsch_things"), "{}", metrics.text());
    }
}
