//! The metrics of the fan-out.

use consumer::GroupMetrics;
use environment::Clock;
use process::{Ages, Latency, Metrics, TopicLabel};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::undelivered::UndeliveredLabels;

/// The fan-out's metrics.
#[derive(Debug, Clone)]
pub struct FanoutMetrics {
    /// What the group assigns to this process.
    pub(crate) group: GroupMetrics,
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
    /// Conversations that are known to be held now.
    pub(crate) held: Gauge,
    /// From the append of an event to the acknowledgement of its deliveries: of those that were acknowledged together, the
    /// event that waited longest.
    pub(crate) append_to_delivered: Latency,
    /// The age of the oldest event that is not delivered.
    pub(crate) oldest_undelivered: Ages<UndeliveredLabels>,
    /// The age of the first record of a relayed topic that is not delivered, of all partitions.
    pub(crate) relay_lag: Ages<TopicLabel>,
    /// The clock of these.
    pub(crate) clock: Clock,
}

impl FanoutMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        Self {
            group: GroupMetrics::new(metrics, "fanout"),
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
            held: metrics.register("fanout_held", "Conversations known to be held now", Gauge::default()),
            append_to_delivered: metrics.register(
                "append_to_delivered_seconds",
                "From the append of an event to the acknowledgement of its deliveries; one for each group acknowledged",
                Latency::default(),
            ),
            oldest_undelivered: metrics.register(
                "fanout_oldest_undelivered_seconds",
                "Age of the oldest event that is not delivered, by why it waits: flowing, parked, held, lagging",
                Ages::new(metrics.clock().clone()),
            ),
            relay_lag: metrics.register(
                "fanout_relay_lag_seconds",
                "Age of the first read mark, or account event, that was read and is not delivered, of all partitions",
                Ages::new(metrics.clock().clone()),
            ),
            clock: metrics.clock().clone(),
        }
    }
}
