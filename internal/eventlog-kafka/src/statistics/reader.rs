//! How a consumer of partitions is: whether its requests are answered, what it has fetched, what its readers have not
//! taken yet, and how far they are behind the end of the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use eventlog::TopicPartition;
use rdkafka::statistics::{Partition, Statistics};

use super::{Brokers, ReaderObserver, parse};

/// How often librdkafka makes statistics of a consumer. All of them are looked at.
pub(crate) const READER_STATISTICS_EVERY: Duration = Duration::from_secs(5);

/// How one of the consumers is that read partitions. A process has one, and more when a partition has several readers.
/// Times are those of the last five seconds; counts are those since the statistics before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReaderStatistics {
    /// The number of the consumer in its log, from 0: each one tells its own figures.
    pub consumer: usize,
    /// The 99th percentile of the time from a request to its answer, of the slowest broker, in microseconds. Most requests
    /// fetch records, and a broker that has none lets them wait ([`crate::KafkaConfig::fetch_wait`]).
    pub rtt_p99_us: u64,
    /// The longest time by which a broker delayed its answers because of a quota, in milliseconds.
    pub throttle_ms: u64,
    /// Requests that could not be sent, had unreadable answers or none in time. An answer that names an error is none of
    /// these.
    pub errors: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// What was fetched, by topic.
    pub fetched: BTreeMap<String, Fetched>,
    /// The partitions that are read now.
    pub partitions: BTreeMap<TopicPartition, Queued>,
}

/// What was fetched of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fetched {
    /// Records.
    pub records: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// What a partition's reader has not taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queued {
    /// Records that were fetched.
    pub records: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// All records up to the end of the log, fetched or not; `None` before the first answer of a broker.
    pub lag: Option<u64>,
}

/// Looks at the statistics of one consumer.
#[derive(Debug)]
pub(crate) struct ReaderLooks {
    consumer: usize,
    observer: ReaderObserver,
    before: Mutex<Counts>,
}

/// What librdkafka counts from the beginning of a client.
#[derive(Debug, Default)]
struct Counts {
    errors: u64,
    retries: u64,
    fetched: BTreeMap<TopicPartition, Fetched>,
}

impl ReaderLooks {
    pub(crate) fn new(consumer: usize, observer: ReaderObserver) -> Self {
        Self { consumer, observer, before: Mutex::default() }
    }

    /// Statistics came, as librdkafka's JSON.
    pub(crate) fn look(&self, statistics: &[u8]) {
        let Some(observe) = &self.observer.0 else { return };
        if let Some(statistics) = parse(statistics) {
            observe(self.told(&statistics));
        }
    }

    fn told(&self, statistics: &Statistics) -> ReaderStatistics {
        let brokers = Brokers::of(statistics);
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = ReaderStatistics {
            consumer: self.consumer,
            rtt_p99_us: brokers.rtt_p99_us(),
            throttle_ms: brokers.throttle_ms(),
            errors: more(&mut before.errors, brokers.errors()),
            retries: more(&mut before.retries, brokers.retries()),
            ..ReaderStatistics::default()
        };
        for (topic, partition) in
            statistics.topics.values().flat_map(|topic| topic.partitions.values().map(move |one| (&topic.topic, one)))
        {
            // The partition -1 stands for records without one.
            let Ok(number) = u32::try_from(partition.partition) else { continue };
            let at = TopicPartition::new(topic, number);
            let counted = before.fetched.entry(at.clone()).or_default();
            let fetched = told.fetched.entry(topic.clone()).or_default();
            fetched.records += more(&mut counted.records, partition.rxmsgs);
            fetched.bytes += more(&mut counted.bytes, partition.rxbytes);
            if partition.fetch_state == "active" {
                let records = u64::try_from(partition.fetchq_cnt).unwrap_or(0);
                told.partitions.insert(at, Queued { records, bytes: partition.fetchq_size, lag: lag(partition) });
            }
        }
        told
    }
}

/// How much a count has grown; it is replaced by the present one. Counts of a partition that was forgotten in between
/// begin at zero.
fn more(before: &mut u64, now: u64) -> u64 {
    let before = std::mem::replace(before, now);
    if now >= before { now - before } else { now }
}

/// Records from the reader's position to the end of the log.
fn lag(partition: &Partition) -> Option<u64> {
    // Before a reader has taken its first record, all that was fetched is in its queue.
    let fetched = partition.next_offset.saturating_sub(partition.fetchq_cnt);
    let next = if partition.app_offset >= 0 { partition.app_offset } else { fetched };
    // Negative offsets say that there is none.
    (next >= 0 && partition.hi_offset >= 0).then(|| u64::try_from(partition.hi_offset - next).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::Topic;

    use super::*;

    fn partition(
        partition: i32,
        state: &str,
        [app_offset, next_offset, hi_offset]: [i64; 3],
        rxmsgs: u64,
    ) -> Partition {
        let (fetch_state, rxbytes) = (state.to_owned(), 10 * rxmsgs);
        let (fetchq_cnt, fetchq_size) = (20, 200);
        Partition {
            partition,
            fetch_state,
            app_offset,
            next_offset,
            hi_offset,
            rxmsgs,
            rxbytes,
            fetchq_cnt,
            fetchq_size,
            ..Partition::default()
        }
    }

    fn statistics(partitions: Vec<Partition>) -> Statistics {
        let partitions = partitions.into_iter().map(|one| (one.partition, one)).collect();
        let topic = Topic { topic: "topic".into(), partitions, ..Topic::default() };
        Statistics { topics: [("topic".to_owned(), topic)].into(), ..Statistics::default() }
    }

    #[test]
    fn what_was_fetched_counts_once_and_lag_is_what_readers_have_not_taken() {
        let looks = ReaderLooks::new(3, ReaderObserver::default());
        let told = looks.told(&statistics(vec![
            partition(-1, "none", [-1001, -1001, -1001], 0),
            partition(0, "active", [60, 80, 100], 80),
            partition(1, "active", [-1001, 30, 30], 25),
            partition(2, "active", [-1001, 0, -1001], 0),
            partition(3, "stopped", [5, 5, 9], 5),
        ]));
        assert_eq!((told.consumer, told.fetched["topic"]), (3, Fetched { records: 110, bytes: 1_100 }));
        let lags: Vec<_> = told.partitions.iter().map(|(at, queued)| (at.partition, queued.lag)).collect();
        assert_eq!(lags, [(0, Some(40)), (1, Some(20)), (2, None)]);
        let queued = told.partitions[&TopicPartition::new("topic", 0)];
        assert_eq!((queued.records, queued.bytes), (20, 200));

        // Partition 1 was forgotten in between: its count begins at zero.
        let told = looks.told(&statistics(vec![
            partition(0, "active", [100, 100, 100], 90),
            partition(1, "active", [30, 30, 30], 5),
        ]));
        assert_eq!(told.fetched["topic"], Fetched { records: 15, bytes: 150 });
        assert_eq!(told.partitions[&TopicPartition::new("topic", 0)].lag, Some(0));
    }
}
