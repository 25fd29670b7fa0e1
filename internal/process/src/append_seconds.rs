//! The time of appends to the log, and how far the log's clock is off: the same for every engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use environment::Clock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::{Latency, Metrics, TopicLabel};

/// Stands for: no log has told its time.
const UNKNOWN: i64 = i64::MIN;

/// The metrics of appends, by topic. Cheap to clone; clones share the counts.
#[derive(Debug, Clone)]
pub struct AppendSeconds {
    seconds: Family<TopicLabel, Latency>,
    failures: Family<TopicLabel, Counter>,
    /// By how many milliseconds the log's clock was ahead at the last append, or [`UNKNOWN`].
    skew_ms: Arc<AtomicI64>,
    clock: Clock,
}

impl AppendSeconds {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let skew_ms = Arc::new(AtomicI64::new(UNKNOWN));
        let shown = Arc::clone(&skew_ms);
        metrics.register_read(
            "append_clock_skew_seconds",
            "The log's clock minus ours, at least, at the last append; 0 while its time lies within the append",
            move || seconds(shown.load(Ordering::Relaxed)),
        );
        Self {
            seconds: metrics.register(
                "append_seconds",
                "Time from the hand-over of a record to the log until it is durable, its wait at the bound included",
                Family::default(),
            ),
            failures: metrics.register(
                "append_failures",
                "Appends that were refused, failed, or whose fate cannot be known",
                Family::default(),
            ),
            skew_ms,
            clock: metrics.clock().clone(),
        }
    }

    /// A record became durable just now, so long after it was handed over. `append_time_ms` is the log's time of it, if
    /// the log tells it: milliseconds since the Unix epoch.
    pub fn acknowledged(&self, topic: &'static str, took: Duration, append_time_ms: Option<i64>) {
        self.seconds.get_or_create(&TopicLabel { topic }).observe(took);
        if let Some(append_time_ms) = append_time_ms {
            self.skew_ms.store(skew_ms(self.clock.now_ms(), took, append_time_ms), Ordering::Relaxed);
        }
    }

    /// A record was refused, or may not be in the log.
    pub fn failed(&self, topic: &'static str) {
        self.failures.get_or_create(&TopicLabel { topic }).inc();
    }
}

/// By how much the append lies before the hand-over, or after the acknowledgement: clocks that agree put it between them.
fn skew_ms(acknowledged_ms: i64, took: Duration, append_ms: i64) -> i64 {
    // Both are whole milliseconds, rounded down.
    let handed_over_ms = acknowledged_ms - i64::try_from(took.as_millis()).unwrap_or(0) - 1;
    append_ms - append_ms.clamp(handed_over_ms.min(acknowledged_ms), acknowledged_ms)
}

/// Beyond 24 days, more or less makes no difference.
#[allow(clippy::cast_possible_truncation)] // clamped
fn seconds(skew_ms: i64) -> Option<f64> {
    let shown = skew_ms.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    (skew_ms != UNKNOWN).then(|| f64::from(shown) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_count_by_topic_and_show_the_skew_that_they_prove() {
        let metrics = Metrics::with_clock(Clock::manual(Arc::new(AtomicI64::new(100_000))));
        let appends = metrics.appends();
        appends.acknowledged("chat.receipts", Duration::from_millis(700), None);
        assert!(!metrics.text().contains("klatsch_append_clock_skew_seconds"), "no log has told its time");
        for (append_ms, shown) in [(99_980, "0.0"), (100_000, "0.0"), (103_500, "3.5"), (97_949, "-2.0")] {
            appends.acknowledged("chat.messages", Duration::from_millis(50), Some(append_ms));
            let line = format!("klatsch_append_clock_skew_seconds {shown}\n");
            assert!(metrics.text().contains(&line), "{line} is not in {}", metrics.text());
        }
        appends.failed("chat.receipts");
        let text = metrics.text();
        for line in [
            "klatsch_append_seconds_bucket{le=\"0.05\",topic=\"chat.messages\"} 4",
            "klatsch_append_seconds_sum{topic=\"chat.messages\"} 0.2",
            "klatsch_append_seconds_bucket{le=\"0.5\",topic=\"chat.receipts\"} 0",
            "klatsch_append_seconds_count{topic=\"chat.receipts\"} 1",
            "klatsch_append_failures_total{topic=\"chat.receipts\"} 1",
            "klatsch_append_clock_skew_seconds -2.0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
        }
    }
}
