//! The settings of the log on Kafka, and the librdkafka configurations made from them.

use std::time::Duration;

use eventlog::AppendObserver;
use rdkafka::ClientConfig;

use crate::statistics::{ProducerObserver, READER_STATISTICS_EVERY, ReaderObserver, STATISTICS_EVERY};

/// The most records in librdkafka's queue. The intake admits fewer, so the queue is never full.
const QUEUE_RECORDS_MAX: u32 = 100_000;
/// The most kilobytes in librdkafka's queue; the intake admits fewer here, too.
const QUEUE_KBYTES_MAX: u32 = 256 << 10;
/// How long a lossy record may be in flight, in milliseconds.
const LOSSY_TIMEOUT_MS: u32 = 2_000;
/// The most lossy records in librdkafka's queue; further ones are dropped.
const LOSSY_RECORDS_MAX: u32 = 10_000;
/// The most kilobytes of lossy records in that queue.
const LOSSY_KBYTES_MAX: u32 = 4 << 10;
/// The largest message: a record of [`eventlog::RECORD_BYTES_MAX`] plus Kafka's overhead.
pub(crate) const MESSAGE_BYTES_MAX: usize = eventlog::RECORD_BYTES_MAX + (64 << 10);

/// The most bytes that a broker answers to one fetch. Librdkafka's default is 50 MiB.
const FETCH_BYTES_MAX: usize = 4 << 20;

/// The connection to Kafka and the requirements on the cluster.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// The bootstrap brokers: `host:port`, separated by commas.
    pub bootstrap: String,
    /// The name of this program in the brokers' logs and metrics.
    pub client_id: String,
    /// Whether this is a development cluster, where one replica is enough.
    pub dev: bool,
    /// How long a record may wait for its acknowledgement before its fate counts as unknown; later records may
    /// then be appended without it. `None`: for ever, as the fan-out needs. In that case a record that still fails
    /// ends the producer: no later record is appended before the caller has heard of the failure.
    pub delivery_timeout: Option<Duration>,
    /// How long a group waits for a silent member. Brokers allow 6 s to 30 min by default.
    pub session_timeout: Duration,
    /// Produce requests in flight on one connection, 1 to 5. A broker keeps them in order by the sequence numbers
    /// of an idempotent producer; the mock broker ignores those and needs 1.
    pub requests_in_flight: u8,
    /// How long a broker holds a fetch for which there is nothing new. A reader that is opened waits for the fetch in
    /// progress, so a program that reads many partitions briefly wants it short; each fetch costs CPU, so one that
    /// waits for records wants it long.
    pub fetch_wait: Duration,
    /// Those who are told how the clients are.
    pub observers: KafkaObservers,
}

/// Those who are told how the clients are. By default nobody is told.
#[derive(Debug, Clone, Default)]
pub struct KafkaObservers {
    /// Is told how the producer is, every five seconds.
    pub producer: ProducerObserver,
    /// Is told how each consumer of partitions is, every five seconds.
    pub readers: ReaderObserver,
    /// Is told of every append.
    pub appends: AppendObserver,
}

impl KafkaConfig {
    /// A production cluster with the defaults of a consumer.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client_id: client_id.into(),
            dev: false,
            delivery_timeout: None,
            session_timeout: Duration::from_secs(10),
            requests_in_flight: 5,
            fetch_wait: Duration::from_millis(25),
            observers: KafkaObservers::default(),
        }
    }

    /// Whether no record may be appended after one that failed.
    pub(crate) fn is_gapless(&self) -> bool {
        self.delivery_timeout.is_none()
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.client_id)
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true");
        config
    }

    /// The client configuration for requests about topics.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.client()
    }

    /// The configuration of the one producer: idempotent, acknowledged by all in-sync replicas, without linger
    /// (each message would wait for it twice: see the measurements in the crate's history).
    pub(crate) fn producer(&self) -> ClientConfig {
        let timeout_ms = self.delivery_timeout.map_or(0, |timeout| timeout.as_millis());
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", self.requests_in_flight.to_string())
            // Without this setting, the producer continues with later records when the broker refuses a batch for
            // good. It does not cover records that time out, so it is useless where they may.
            .set("enable.gapless.guarantee", self.is_gapless().to_string())
            .set("linger.ms", "0")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", timeout_ms.to_string())
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX.to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES_MAX.to_string())
            // The statistics show when the producer has its id, which the first record would otherwise wait for.
            .set("statistics.interval.ms", STATISTICS_EVERY.as_millis().to_string());
        config
    }

    /// The configuration of the producer of lossy records. It shares neither the guarantees nor the queue of the
    /// other one; a record that a broker does not accept within the timeout is dropped.
    pub(crate) fn lossy_producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "false")
            .set("acks", "1")
            .set("retries", "0")
            .set("linger.ms", "0")
            .set("message.timeout.ms", LOSSY_TIMEOUT_MS.to_string())
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("queue.buffering.max.messages", LOSSY_RECORDS_MAX.to_string())
            .set("queue.buffering.max.kbytes", LOSSY_KBYTES_MAX.to_string())
            // Operators create topics: a topic that a broker created automatically would have the wrong
            // partitions.
            .set("allow.auto.create.topics", "false");
        config
    }

    /// The base configuration of a consumer that never skips, rewinds or commits by itself.
    fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            // Deliberately not librdkafka's default: for a reader of committed records only, an open transaction
            // of another producer hides all later records, of everybody, until the broker aborts it (after 15
            // minutes by default). Our producers have no transactions. Records that another producer aborts are
            // judged like any others: every record in the log is an event, and all readers see the same ones.
            .set("isolation.level", "read_uncommitted")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// A consumer of partitions that are assigned by hand. It joins no group, but librdkafka requires a group
    /// name.
    pub(crate) fn reader(&self) -> ClientConfig {
        let mut config = self.consumer();
        config
            .set("group.id", format!("{}-readers", self.client_id))
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", self.fetch_wait.as_millis().to_string())
            .set("fetch.queue.backoff.ms", "2")
            // Fetched ahead for each partition, which has a queue of its own: at either bound no more is fetched until
            // its reader has taken some, looked at every 2 ms. A record that lies in a queue keeps the whole answer to
            // the fetch in memory, so answers are bounded, too.
            .set("queued.min.messages", "2048")
            .set("queued.max.messages.kbytes", "2048")
            .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
            .set("statistics.interval.ms", READER_STATISTICS_EVERY.as_millis().to_string());
        config
    }

    /// A member of a group, used only for assignments and commits.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let session_ms = self.session_timeout.as_millis();
        let mut config = self.consumer();
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_ms.to_string())
            // Members learn of a rebalance from the answers to their heartbeats.
            .set("heartbeat.interval.ms", (session_ms / 20).to_string())
            .set("max.poll.interval.ms", "60000")
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "1024");
        config
    }

    /// A consumer that reports the end of a partition, to find which offsets before it hold records.
    pub(crate) fn probe(&self) -> ClientConfig {
        let mut config = self.consumer();
        config
            .set("group.id", format!("{}-probes", self.client_id))
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10");
        config
    }

    /// A client that reads or sets the commits of a group without joining it.
    pub(crate) fn visitor(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer();
        config.set("group.id", group);
        config
    }
}
