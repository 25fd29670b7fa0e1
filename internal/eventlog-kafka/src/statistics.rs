//! How the clients are, from librdkafka's statistics. Every process has one producer, which speaks to every broker that
//! leads a partition: so its figures also show whether the brokers can be reached at all. The figures of the consumers
//! that read partitions show whether records come, and how many wait.

mod reader;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::statistics::{Broker, Statistics, Window};

pub use reader::{Fetched, Queued, ReaderStatistics};
pub(crate) use reader::{READER_STATISTICS_EVERY, ReaderLooks};

/// How often librdkafka makes statistics of the producer.
pub(crate) const STATISTICS_EVERY: Duration = Duration::from_millis(250);
/// One in so many is looked at: every five seconds. Parsing one takes longer than all else that the thread does.
const LOOKED_AT: u32 = 20;

/// How the producer is. Times are those of the last 250 ms, and zero where it was quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProducerStatistics {
    /// Brokers that the cluster has, as far as the producer knows.
    pub brokers: u64,
    /// Brokers to which it has a connection.
    pub brokers_up: u64,
    /// Records that wait in its queue, or for their acknowledgement.
    pub queue_records: u64,
    /// Bytes of these.
    pub queue_bytes: u64,
    /// The 99th percentile of the time from a request to its answer, of the slowest broker, in microseconds.
    pub rtt_p99_us: u64,
    /// The longest time by which a broker delayed its answers because of a quota, in milliseconds.
    pub throttle_ms: u64,
    /// Requests that could not be sent, had unreadable answers or none in time, since the producer began. An answer that
    /// names an error is none of these.
    pub errors: u64,
    /// Requests that were sent again, since the producer began.
    pub retries: u64,
}

/// Is told statistics. By default nobody is told.
pub struct StatisticsObserver<S>(Option<Arc<Observe<S>>>);

/// Is told how the producer is.
pub type ProducerObserver = StatisticsObserver<ProducerStatistics>;
/// Is told how each consumer of partitions is.
pub type ReaderObserver = StatisticsObserver<ReaderStatistics>;

type Observe<S> = dyn Fn(S) + Send + Sync;

impl<S> StatisticsObserver<S> {
    /// Calls `observe`, which must not block.
    pub fn new(observe: impl Fn(S) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }
}

impl<S> Default for StatisticsObserver<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S> Clone for StatisticsObserver<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> fmt::Debug for StatisticsObserver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatisticsObserver").field(&self.0.is_some()).finish()
    }
}

/// Looks at a producer's statistics now and then.
#[derive(Debug)]
pub(crate) struct Looks {
    observer: ProducerObserver,
    /// The number of statistics so far.
    made: AtomicU32,
}

impl Looks {
    pub(crate) fn new(observer: ProducerObserver) -> Self {
        Self { observer, made: AtomicU32::new(0) }
    }

    /// Statistics came, as librdkafka's JSON.
    pub(crate) fn look(&self, statistics: &[u8]) {
        let Some(observe) = &self.observer.0 else { return };
        if !self.made.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOKED_AT) {
            return;
        }
        if let Some(statistics) = parse(statistics) {
            observe(ProducerStatistics::of(&statistics));
        }
    }
}

fn parse(statistics: &[u8]) -> Option<Statistics> {
    let parsed = serde_json::from_slice(statistics);
    parsed.inspect_err(|error| tracing::debug!(%error, "librdkafka's statistics cannot be read")).ok()
}

/// The brokers of the cluster. The others in the statistics are names under which brokers were looked up at first, and
/// groups.
struct Brokers<'a>(Vec<&'a Broker>);

impl<'a> Brokers<'a> {
    fn of(statistics: &'a Statistics) -> Self {
        Self(statistics.brokers.values().filter(|broker| broker.nodeid >= 0).collect())
    }

    /// The largest value of that window of all brokers.
    fn longest(&self, window: fn(&Broker) -> Option<&Window>, value: fn(&Window) -> i64) -> u64 {
        let values = self.0.iter().filter_map(|broker| window(broker).map(value));
        values.max().and_then(|longest| u64::try_from(longest).ok()).unwrap_or(0)
    }

    fn rtt_p99_us(&self) -> u64 {
        self.longest(|broker| broker.rtt.as_ref(), |window| window.p99)
    }

    fn throttle_ms(&self) -> u64 {
        self.longest(|broker| broker.throttle.as_ref(), |window| window.max)
    }

    fn errors(&self) -> u64 {
        self.0.iter().map(|broker| broker.txerrs + broker.rxerrs + broker.req_timeouts).sum()
    }

    fn retries(&self) -> u64 {
        self.0.iter().map(|broker| broker.txretries).sum()
    }
}

impl ProducerStatistics {
    fn of(statistics: &Statistics) -> Self {
        let brokers = Brokers::of(statistics);
        Self {
            brokers: brokers.0.len() as u64,
            brokers_up: brokers.0.iter().filter(|broker| broker.state == "UP").count() as u64,
            queue_records: statistics.msg_cnt,
            queue_bytes: statistics.msg_size,
            rtt_p99_us: brokers.rtt_p99_us(),
            throttle_ms: brokers.throttle_ms(),
            errors: brokers.errors(),
            retries: brokers.retries(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_counted_and_the_slowest_one_shown() {
        let broker = |nodeid, state: &str, p99, errors| {
            let rtt = Some(Window { p99, ..Window::default() });
            Broker { nodeid, state: state.into(), rtt, txerrs: errors, req_timeouts: 1, ..Broker::default() }
        };
        let brokers = [broker(-1, "UP", 9_000, 5), broker(1, "UP", 1_200, 0), broker(2, "DOWN", 3_400, 2)];
        let brokers = brokers.into_iter().map(|broker| (broker.nodeid.to_string(), broker)).collect();
        let statistics = Statistics { brokers, msg_cnt: 7, msg_size: 900, ..Statistics::default() };
        let found = ProducerStatistics::of(&statistics);
        assert_eq!((found.brokers, found.brokers_up, found.queue_records, found.queue_bytes), (2, 1, 7, 900));
        assert_eq!((found.rtt_p99_us, found.throttle_ms, found.errors, found.retries), (3_400, 0, 4, 0));
    }
}
