//! How long the oldest thing that waits has been waiting, by label: a gauge that grows by itself.
//!
//! A consumer that is stuck sets no metric any more, and a gauge that it set before would stay as it was. So the consumer
//! only says since when something waits, and the age is computed whenever the metrics are read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use environment::Clock;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// Stands for: nothing waits.
const NOTHING: i64 = i64::MAX;

/// A gauge, in seconds, for each label set that somebody keeps an [`Age`] of. Cheap to clone; clones share the ages.
#[derive(Debug, Clone)]
pub struct Ages<L> {
    clock: Clock,
    ages: Arc<Mutex<Kept<L>>>,
}

/// The ages that are kept somewhere, with their labels.
type Kept<L> = Vec<(L, Weak<AtomicI64>)>;

/// The age of the oldest thing that waits somewhere. Its label set is exported for as long as it is kept; of several with
/// the same label set, the oldest counts.
#[derive(Debug)]
pub struct Age {
    /// Milliseconds since the Unix epoch, or [`NOTHING`].
    since_ms: Arc<AtomicI64>,
}

/// The label of metrics that have one series for each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct PartitionLabel {
    /// The number of the partition.
    pub partition: u32,
}

/// The label of metrics that have one series for each topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct TopicLabel {
    /// The topic's name in the table of topics.
    pub topic: &'static str,
}

impl<L> Ages<L> {
    /// Ages by that clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, ages: Arc::default() }
    }

    /// An age under that label set: 0 until something waits.
    #[must_use]
    pub fn of(&self, labels: L) -> Age {
        let since_ms = Arc::new(AtomicI64::new(NOTHING));
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        ages.retain(|(_, age)| age.strong_count() > 0);
        ages.push((labels, Arc::downgrade(&since_ms)));
        Age { since_ms }
    }
}

impl Age {
    /// Says since when the oldest thing has been waiting, in milliseconds since the Unix epoch; `None` when nothing waits.
    pub fn since(&self, oldest_ms: Option<i64>) {
        self.since_ms.store(oldest_ms.unwrap_or(NOTHING), Ordering::Relaxed);
    }
}

impl<L: EncodeLabelSet + Ord + Clone> EncodeMetric for Ages<L> {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let mut oldest: BTreeMap<L, i64> = BTreeMap::new();
        for (labels, age) in self.ages.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(since_ms) = age.upgrade().map(|age| age.load(Ordering::Relaxed)) {
                oldest.entry(labels.clone()).and_modify(|oldest| *oldest = since_ms.min(*oldest)).or_insert(since_ms);
            }
        }
        let now_ms = self.clock.now_ms();
        for (labels, since_ms) in oldest {
            let age_ms = u32::try_from(now_ms.saturating_sub(since_ms).max(0)).unwrap_or(u32::MAX);
            encoder.encode_family(&labels)?.encode_gauge(&(f64::from(age_ms) / 1_000.0))?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        let ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        ages.iter().all(|(_, age)| age.strong_count() == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn an_age_grows_by_itself_and_is_gone_with_its_owner() {
        let now_ms = Arc::new(AtomicI64::new(100_000));
        let metrics = Metrics::with_clock(Clock::manual(Arc::clone(&now_ms)));
        let ages = metrics.register("lag_seconds", "Lag", Ages::new(metrics.clock().clone()));
        assert!(!metrics.text().contains("klatsch_lag_seconds"), "nobody has a partition");
        let (age, follower) = (ages.of(PartitionLabel { partition: 3 }), ages.of(PartitionLabel { partition: 3 }));
        let shows = |line: &str| {
            let text = metrics.text();
            assert_eq!(text.matches("klatsch_lag_seconds{").count(), 1, "{text}");
            assert!(text.contains(&format!("klatsch_lag_seconds{{partition=\"3\"}} {line}\n")), "{text}");
        };
        shows("0.0");
        age.since(Some(99_000));
        follower.since(Some(98_000));
        shows("2.0");
        now_ms.store(101_500, Ordering::SeqCst);
        shows("3.5");
        drop(follower);
        shows("2.5");
        age.since(Some(200_000));
        shows("0.0");
        age.since(None);
        shows("0.0");
        drop(age);
        assert!(!metrics.text().contains("klatsch_lag_seconds"));
    }
}
