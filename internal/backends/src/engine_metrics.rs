//! The metrics of Kafka's clients: how Kafka is, as this program sees it.

use std::sync::{Arc, Mutex, PoisonError};

use eventlog_kafka::{KafkaObservers, ProducerObserver, ProducerStatistics, ReaderObserver};
use process::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::reader_metrics::ReaderMetrics;

/// The metrics of Kafka's clients. Cheap to clone; clones share the counts.
#[derive(Debug, Clone)]
pub struct EngineMetrics {
    producer: ProducerMetrics,
    readers: ReaderMetrics,
    metrics: Metrics,
}

#[derive(Debug, Clone)]
struct ProducerMetrics {
    brokers: Gauge,
    brokers_up: Gauge,
    queue_records: Gauge,
    queue_bytes: Gauge,
    rtt: Gauge<f64, std::sync::atomic::AtomicU64>,
    throttle: Gauge<f64, std::sync::atomic::AtomicU64>,
    errors: Counter,
    retries: Counter,
    /// The statistics before: librdkafka counts from the beginning of a producer.
    before: Arc<Mutex<ProducerStatistics>>,
}

impl EngineMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let (producer, readers) = (ProducerMetrics::new(metrics), ReaderMetrics::new(metrics));
        Self { producer, readers, metrics: metrics.clone() }
    }

    /// Shows how the clients are, and counts appends.
    #[must_use]
    pub fn kafka(&self) -> KafkaObservers {
        let (producer, readers) = (self.producer.clone(), self.readers.clone());
        KafkaObservers {
            producer: ProducerObserver::new(move |statistics| producer.set(statistics)),
            readers: ReaderObserver::new(move |statistics| readers.set(statistics)),
            appends: ops::observers::appends(&self.metrics),
        }
    }
}

impl ProducerMetrics {
    fn new(metrics: &Metrics) -> Self {
        let gauge = |name: &str, help: &str| metrics.register(name, help, Gauge::default());
        let seconds = |name: &str, help: &str| metrics.register(name, help, Gauge::default());
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        Self {
            brokers: gauge("kafka_brokers", "Brokers of the cluster, as far as the producer knows them"),
            brokers_up: gauge("kafka_brokers_up", "Brokers that the producer has a connection to"),
            queue_records: gauge("kafka_queue_records", "Records that the producer has not had acknowledged yet"),
            queue_bytes: gauge("kafka_queue_bytes", "Bytes of these records"),
            rtt: seconds(
                "kafka_rtt_seconds",
                "99th percentile of request to answer, of the slowest broker, in a sample of 250 ms",
            ),
            throttle: seconds(
                "kafka_throttle_seconds",
                "Longest delay of an answer by a broker's quota, in a sample of 250 ms",
            ),
            errors: counter(
                "kafka_request_errors",
                "Requests of the producer that could not be sent or were not answered",
            ),
            retries: counter("kafka_request_retries", "Requests of the producer that were sent again"),
            before: Arc::default(),
        }
    }

    fn set(&self, now: ProducerStatistics) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.brokers.set(whole(now.brokers));
        self.brokers_up.set(whole(now.brokers_up));
        self.queue_records.set(whole(now.queue_records));
        self.queue_bytes.set(whole(now.queue_bytes));
        self.rtt.set(std::time::Duration::from_micros(now.rtt_p99_us).as_secs_f64());
        self.throttle.set(std::time::Duration::from_millis(now.throttle_ms).as_secs_f64());
        let before = std::mem::replace(&mut *self.before.lock().unwrap_or_else(PoisonError::into_inner), now);
        // A producer that was replaced begins at zero.
        let more = |now: u64, before: u64| if now >= before { now - before } else { now };
        self.errors.inc_by(more(now.errors, before.errors));
        self.retries.inc_by(more(now.retries, before.retries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_producer_go_on_with_the_next_one() {
        let metrics = Metrics::new();
        let engines = EngineMetrics::new(&metrics);
        for errors in [3, 5, 1] {
            engines.producer.set(ProducerStatistics {
                errors,
                brokers_up: errors,
                rtt_p99_us: 1_500,
                ..Default::default()
            });
        }
        let text = metrics.text();
        for line in
            ["klatsch_kafka_request_errors_total 6", "klatsch_kafka_brokers_up 1", "klatsch_kafka_rtt_seconds 0.0015"]
        {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
