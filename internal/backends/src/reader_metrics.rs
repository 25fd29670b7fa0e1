//! The metrics of the consumers that read partitions from Kafka. A process has one, and more when a partition has several
//! readers: counts are added up, of times the longest is shown.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventlog_kafka::{Queued, ReaderStatistics};
use events::topics;
use process::{Computed, Metrics, TopicLabel};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::FETCH_WAIT;

#[derive(Debug, Clone)]
pub(crate) struct ReaderMetrics {
    rtt: Gauge<f64, AtomicU64>,
    throttle: Gauge<f64, AtomicU64>,
    errors: Counter,
    retries: Counter,
    records: Family<TopicLabel, Counter>,
    bytes: Family<TopicLabel, Counter>,
    latest: Latest,
}

/// The latest statistics of each consumer.
type Latest = Arc<Mutex<BTreeMap<usize, ReaderStatistics>>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct PartitionLabels {
    topic: &'static str,
    partition: u32,
}

impl ReaderMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let seconds = |name: &str, help: &str| metrics.register(name, help, Gauge::default());
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        let counters = |name: &str, help: &str| metrics.register(name, help, Family::default());
        let latest = Latest::default();
        let (lags, records, bytes) = (Arc::clone(&latest), Arc::clone(&latest), Arc::clone(&latest));
        let queue = |name: &str, help: &str, latest: Latest, count: fn(&Queued) -> u64| {
            metrics.register(name, help, Computed::new(move || queued(&latest, count)));
        };
        queue("kafka_reader_queue_records", "Records fetched and not taken by their readers yet", records, |queued| {
            queued.records
        });
        queue("kafka_reader_queue_bytes", "Bytes of these records", bytes, |queued| queued.bytes);
        metrics.register(
            "kafka_reader_lag_records",
            "Records from a partition's foremost reader to the end of the log, at the last look, every 5 s",
            Computed::new(move || lags_of(&lags)),
        );
        Self {
            rtt: seconds(
                "kafka_reader_rtt_seconds",
                &format!(
                    "99th percentile of a reader's request to its answer, of the slowest broker, in 5 s; includes up to {} \
                     ms in which a broker waits for records",
                    FETCH_WAIT.as_millis()
                ),
            ),
            throttle: seconds("kafka_reader_throttle_seconds", "Longest delay of a reader by a broker's quota, in 5 s"),
            errors: counter(
                "kafka_reader_request_errors",
                "Requests of readers that could not be sent or were not answered",
            ),
            retries: counter("kafka_reader_request_retries", "Requests of readers that were sent again"),
            records: counters("kafka_reader_records", "Records fetched by readers, by topic"),
            bytes: counters("kafka_reader_bytes", "Bytes of these records"),
            latest,
        }
    }

    pub(crate) fn set(&self, now: ReaderStatistics) {
        self.errors.inc_by(now.errors);
        self.retries.inc_by(now.retries);
        for (topic, fetched) in &now.fetched {
            let Some(topic) = known(topic) else { continue };
            self.records.get_or_create(&TopicLabel { topic }).inc_by(fetched.records);
            self.bytes.get_or_create(&TopicLabel { topic }).inc_by(fetched.bytes);
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.insert(now.consumer, now);
        let longest = |value: fn(&ReaderStatistics) -> Duration| {
            latest.values().map(value).max().unwrap_or_default().as_secs_f64()
        };
        self.rtt.set(longest(|one| Duration::from_micros(one.rtt_p99_us)));
        self.throttle.set(longest(|one| Duration::from_millis(one.throttle_ms)));
    }
}

/// The topic's name, if it is in the table: labels are a closed set.
fn known(topic: &str) -> Option<&'static str> {
    topics::find(topic).map(|spec| spec.name.as_str())
}

fn queued(latest: &Latest, count: fn(&Queued) -> u64) -> BTreeMap<TopicLabel, u64> {
    let mut all = BTreeMap::new();
    for one in latest.lock().unwrap_or_else(PoisonError::into_inner).values() {
        for (at, queued) in &one.partitions {
            if let Some(topic) = known(&at.topic) {
                *all.entry(TopicLabel { topic }).or_default() += count(queued);
            }
        }
    }
    all
}

/// Of several readers of a partition, the one nearest to the end follows it; the others read again what was read before,
/// for a device that came back, or a conversation that was parked.
fn lags_of(latest: &Latest) -> BTreeMap<PartitionLabels, u64> {
    let mut all = BTreeMap::new();
    for one in latest.lock().unwrap_or_else(PoisonError::into_inner).values() {
        for (at, queued) in &one.partitions {
            if let (Some(topic), Some(lag)) = (known(&at.topic), queued.lag) {
                let labels = PartitionLabels { topic, partition: at.partition };
                all.entry(labels).and_modify(|least: &mut u64| *least = lag.min(*least)).or_insert(lag);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use eventlog::TopicPartition;
    use eventlog_kafka::Fetched;
    use events::topics::{DELIVERIES, MESSAGES};

    use super::*;

    fn statistics(consumer: usize, rtt_p99_us: u64, read: &[(&str, u32, u64)]) -> ReaderStatistics {
        let partitions = read.iter().map(|(topic, partition, lag)| {
            (TopicPartition::new(*topic, *partition), Queued { records: 3, bytes: 30, lag: Some(*lag) })
        });
        let fetched = read.iter().map(|(topic, ..)| ((*topic).to_owned(), Fetched { records: 7, bytes: 70 }));
        ReaderStatistics {
            consumer,
            rtt_p99_us,
            errors: 1,
            retries: 2,
            fetched: fetched.collect(),
            partitions: partitions.collect(),
            ..ReaderStatistics::default()
        }
    }

    #[test]
    fn consumers_are_added_up_and_a_partition_that_nobody_reads_is_gone() {
        let metrics = Metrics::new();
        let readers = ReaderMetrics::new(&metrics);
        readers.set(statistics(0, 4_000, &[(MESSAGES, 1, 40), (DELIVERIES, 2, 0)]));
        readers.set(statistics(1, 30_000, &[(MESSAGES, 1, 900), ("of.another.system", 0, 5)]));
        let shows = |lines: &[&str]| {
            let text = metrics.text();
            for line in lines {
                assert!(text.lines().any(|shown| shown == *line), "{line} is not in {text}");
            }
            assert!(!text.contains("another"), "{text}");
        };
        shows(&[
            "klatsch_kafka_reader_lag_records{topic=\"chat.messages\",partition=\"1\"} 40",
            "klatsch_kafka_reader_lag_records{topic=\"chat.deliveries\",partition=\"2\"} 0",
            "klatsch_kafka_reader_queue_records{topic=\"chat.messages\"} 6",
            "klatsch_kafka_reader_queue_bytes{topic=\"chat.deliveries\"} 30",
            "klatsch_kafka_reader_records_total{topic=\"chat.messages\"} 14",
            "klatsch_kafka_reader_bytes_total{topic=\"chat.deliveries\"} 70",
            "klatsch_kafka_reader_rtt_seconds 0.03",
            "klatsch_kafka_reader_request_errors_total 2",
            "klatsch_kafka_reader_request_retries_total 4",
        ]);

        readers.set(statistics(0, 5_000, &[(MESSAGES, 1, 0)]));
        readers.set(statistics(1, 0, &[]));
        shows(&[
            "klatsch_kafka_reader_lag_records{topic=\"chat.messages\",partition=\"1\"} 0",
            "klatsch_kafka_reader_queue_records{topic=\"chat.messages\"} 3",
            "klatsch_kafka_reader_records_total{topic=\"chat.messages\"} 21",
            "klatsch_kafka_reader_rtt_seconds 0.005",
        ]);
        assert!(!metrics.text().contains("klatsch_kafka_reader_lag_records{topic=\"chat.deliveries\""));
    }
}
