//! A histogram of durations that is cheap enough for hot paths: observing one changes two atomics, takes no lock and
//! allocates nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The upper bounds of the buckets, in milliseconds. The objectives that alerts are computed from (250 ms, 300 ms, 1 s,
/// 2 s) are among them, because only the share below a bound is known exactly. Each bound is one more series for every
/// label set: a test of all services together keeps a process within 2,000.
pub const BOUNDS_MS: [f64; 11] = [5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 300.0, 500.0, 1_000.0, 2_000.0, 5_000.0];

/// A histogram of durations, in seconds. Cheap to clone; clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Observations by bucket; the last one has those above every bound.
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    /// The sum of all observations, in microseconds.
    sum_us: AtomicU64,
}

impl Latency {
    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let ms = duration.as_secs_f64() * 1_000.0;
        let bucket = BOUNDS_MS.partition_point(|bound| *bound < ms);
        self.counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Counts the time from one moment to another, both in milliseconds since the Unix epoch. Clocks of two hosts
    /// differ: a moment that seems to lie ahead counts as no time at all.
    pub fn observe_between(&self, from_ms: i64, to_ms: i64) {
        self.observe(Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)));
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let bounds = BOUNDS_MS.iter().map(|bound| bound / 1_000.0).chain([f64::INFINITY]);
        let counts = self.counts.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_micros(self.counts.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn a_duration_counts_in_every_bucket_that_it_fits_into() {
        let metrics = Metrics::new();
        let seconds = metrics.register("answer_seconds", "Answers", Latency::default());
        seconds.observe(Duration::from_millis(250));
        seconds.observe_between(10_000, 10_400);
        seconds.observe_between(10_000, 9_000);
        seconds.observe(Duration::from_secs(60));
        let text = metrics.text();
        for line in [
            "klatsch_answer_seconds_bucket{le=\"0.005\"} 1",
            "klatsch_answer_seconds_bucket{le=\"0.25\"} 2",
            "klatsch_answer_seconds_bucket{le=\"0.5\"} 3",
            "klatsch_answer_seconds_bucket{le=\"5.0\"} 3",
            "klatsch_answer_seconds_bucket{le=\"+Inf\"} 4",
            "klatsch_answer_seconds_count 4",
            "klatsch_answer_seconds_sum 60.65",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
