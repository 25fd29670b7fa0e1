//! The metrics of the fan-out.

use process::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// The fan-out's metrics.
#[derive(Debug, Clone)]
pub struct FanoutMetrics {
    /// Events judged, whatever was decided.
    pub(crate) events: Counter,
    /// Delivery records appended.
    pub(crate) deliveries: Counter,
    /// Recipients named in them.
    pub(crate) recipients: Counter,
    /// Conversations loaded.
    pub(crate) loads: Counter,
    /// Ids read because they are older than the cache.
    pub(crate) id_reads: Counter,
    /// Conversations parked so far.
    pub(crate) parks: Counter,
    /// Conversations that are parked now.
    pub(crate) parked: Gauge,
    /// How often the log was read again for a parked conversation.
    pub(crate) rereads: Counter,
    /// Events whose judging panicked.
    pub(crate) panics: Counter,
    /// Conversations with a row that this program cannot read, each time that such a row is read.
    pub(crate) malformed: Counter,
    /// Holds begun.
    pub(crate) holds: Counter,
    /// Events skipped under a hold.
    pub(crate) skipped: Counter,
    /// Held conversations that were re-driven to the end.
    pub(crate) healed: Counter,
    /// Records of corrupt bytes.
    pub(crate) corrupt: Counter,
    /// Delivery partitions that lag, of all source partitions.
    pub(crate) lagging: Gauge,
    /// Commits.
    pub(crate) commits: Counter,
}

impl FanoutMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        Self {
            events: counter("fanout_events", "Events judged"),
            deliveries: counter("fanout_deliveries", "Delivery records appended"),
            recipients: counter("fanout_recipients", "Recipients named in deliveries"),
            loads: counter("fanout_conversation_loads", "Conversations loaded from the store"),
            id_reads: counter("fanout_id_reads", "Ids read because they are older than the cache"),
            parks: counter("fanout_parks", "Conversations parked until the store has said what memory does not have"),
            parked: metrics.register("fanout_parked", "Conversations parked now", Gauge::default()),
            rereads: counter("fanout_rereads", "Times that the log was read again for a parked conversation"),
            panics: counter("fanout_judging_panics", "Events whose judging panicked: a bug, the conversation is held"),
            malformed: counter("fanout_malformed_rows", "Rows that this program cannot read: the conversation is held"),
            holds: counter("fanout_holds", "Holds begun"),
            skipped: counter("fanout_skipped_events", "Events skipped under a hold"),
            healed: counter("fanout_healed_holds", "Held conversations re-driven to the end"),
            corrupt: counter("fanout_corrupt_records", "Records whose bytes are not of their schema"),
            lagging: metrics.register(
                "fanout_lagging_partitions",
                "Delivery partitions that take nothing or too little, counted for each source partition",
                Gauge::default(),
            ),
            commits: counter("fanout_commits", "Positions committed"),
        }
    }
}
