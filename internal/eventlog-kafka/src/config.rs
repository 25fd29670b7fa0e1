//! The settings of the log on Kafka, and what they mean to librdkafka.

use std::time::Duration;

use rdkafka::ClientConfig;

/// The most records in librdkafka's queue. The intake admits fewer, so its own "queue full" is never met.
const QUEUE_RECORDS_MAX: u32 = 100_000;
/// Kilobytes in librdkafka's queue; the intake admits fewer here too.
const QUEUE_KBYTES_MAX: u32 = 256 << 10;
/// How long a lossy record may be on its way, in milliseconds.
const LOSSY_TIMEOUT_MS: u32 = 2_000;
/// The most lossy records in librdkafka's queue; what comes at the bound is dropped.
const LOSSY_RECORDS_MAX: u32 = 10_000;
/// Kilobytes of these.
const LOSSY_KBYTES_MAX: u32 = 4 << 10;
/// The largest message: a record of [`eventlog::RECORD_BYTES_MAX`] with what Kafka puts around it.
pub(crate) const MESSAGE_BYTES_MAX: usize = eventlog::RECORD_BYTES_MAX + (64 << 10);

/// How to reach Kafka, and what to expect of it.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// The brokers to begin with: `host:port`, separated by commas.
    pub bootstrap: String,
    /// What this program calls itself in the brokers' logs and metrics.
    pub client_id: String,
    /// A cluster for development: one replica is enough.
    pub dev: bool,
    /// How long a record may wait for its acknowledgement before its fate is called unknown; later records may be there
    /// without it then. `None`: for ever, as the fan-out needs, and a record that fails all the same ends the producer:
    /// none behind it is appended before its writer has heard of it.
    pub delivery_timeout: Option<Duration>,
    /// How long a group waits for a member that went silent. Brokers allow 6 s to 30 min by default.
    pub session_timeout: Duration,
    /// Produce requests that may be under way on one connection, 1 to 5. A broker keeps them in order by the sequence
    /// numbers of an idempotent producer; the mock broker does not look at those and needs 1.
    pub requests_in_flight: u8,
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
        }
    }

    /// Whether no record may be appended behind one that failed.
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

    /// The configuration of the client for requests about topics.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.client()
    }

    /// The one producer: idempotent, acknowledged by all in-sync replicas, without linger (it would be paid twice per
    /// message: see the measurements in the crate's history).
    pub(crate) fn producer(&self) -> ClientConfig {
        let timeout_ms = self.delivery_timeout.map_or(0, |timeout| timeout.as_millis());
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", self.requests_in_flight.to_string())
            // Without, the producer goes on with later records when the broker refuses a batch for good. It does not
            // cover records that time out, so it promises nothing where they may.
            .set("enable.gapless.guarantee", self.is_gapless().to_string())
            .set("linger.ms", "0")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", timeout_ms.to_string())
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX.to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES_MAX.to_string())
            // Says when the producer's id has been assigned, which the first record would wait for.
            .set("statistics.interval.ms", "250");
        config
    }

    /// The producer of lossy records: none of the promises of the other one, and none of its room. What a broker does not
    /// take at once is given up.
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
            // Topics are made by operators: one that a broker made by itself would have the wrong partitions.
            .set("allow.auto.create.topics", "false");
        config
    }

    /// A consumer that never skips, rewinds or commits by itself.
    fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            // On purpose, and not librdkafka's default: to readers of committed records only, one transaction that another
            // producer leaves open hides everything behind it, of everybody, until the broker ends it (15 minutes by
            // default). Ours has no transactions. What another one aborts is judged like any other record: what stands in
            // the log is an event, and each reader sees the same ones.
            .set("isolation.level", "read_uncommitted")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// A consumer of partitions that are assigned by hand. It belongs to no group; librdkafka wants a name all the same.
    pub(crate) fn reader(&self) -> ClientConfig {
        let mut config = self.consumer();
        config
            .set("group.id", format!("{}-readers", self.client_id))
            .set("fetch.min.bytes", "1")
            // A partition that is added waits for the fetch that is under way.
            .set("fetch.wait.max.ms", "25")
            .set("fetch.queue.backoff.ms", "2")
            .set("queued.min.messages", "5000")
            .set("queued.max.messages.kbytes", "16384");
        config
    }

    /// A member of a group, for its assignments and commits only.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let session_ms = self.session_timeout.as_millis();
        let mut config = self.consumer();
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_ms.to_string())
            // Members learn of a rebalance by their heartbeats.
            .set("heartbeat.interval.ms", (session_ms / 20).to_string())
            .set("max.poll.interval.ms", "60000")
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "1024");
        config
    }

    /// A consumer that says when it has come to a partition's end, to see which offsets before it hold records.
    pub(crate) fn probe(&self) -> ClientConfig {
        let mut config = self.consumer();
        config
            .set("group.id", format!("{}-probes", self.client_id))
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10");
        config
    }

    /// A client that looks at or sets the commits of a group without being in it.
    pub(crate) fn visitor(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer();
        config.set("group.id", group);
        config
    }
}
