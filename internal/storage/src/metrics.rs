//! The metrics of the storage consumer.

use consumer::{BATCH_RECORDS_MAX, GroupMetrics};
use environment::Clock;
use eventlog::Record;
use process::{Ages, Latency, Metrics, PartitionLabel, TopicLabel};
use prometheus_client::metrics::counter::Counter;

/// The storage consumer's metrics.
#[derive(Debug, Clone)]
pub struct StorageMetrics {
    /// What the group assigns to this process.
    pub(crate) group: GroupMetrics,
    /// Events judged, whatever was decided.
    pub(crate) events: Counter,
    /// Row writes handed to the store.
    pub(crate) rows: Counter,
    /// Batches applied.
    pub(crate) batches: Counter,
    /// Conversations loaded.
    pub(crate) loads: Counter,
    /// Ids read because they are older than the cache.
    pub(crate) id_reads: Counter,
    /// Records of corrupt bytes.
    pub(crate) corrupt: Counter,
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
    /// From the append of an event to its rows: of each batch, the event that waited longest.
    pub(crate) append_to_stored: Latency,
    /// The age of the first event that is not applied.
    pub(crate) lag: Ages<PartitionLabel>,
    /// The age of the first read mark that is not applied, of all partitions.
    pub(crate) marks_lag: Ages<TopicLabel>,
    /// The clock of these.
    pub(crate) clock: Clock,
}

impl StorageMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        Self {
            group: GroupMetrics::new(metrics, "storage"),
            events: counter("storage_events", "Events judged"),
            rows: counter("storage_rows", "Row writes handed to the store"),
            batches: counter("storage_batches", "Batches applied"),
            loads: counter("storage_conversation_loads", "Conversations loaded from the store"),
            id_reads: counter("storage_id_reads", "Ids read because they are older than the cache"),
            corrupt: counter("storage_corrupt_records", "Records whose bytes are not of their schema"),
            malformed: counter(
                "storage_malformed_rows",
                "Rows that this program cannot read: the conversation is held",
            ),
            panics: counter("storage_judging_panics", "Events whose judging panicked: a bug, the conversation is held"),
            holds: counter("storage_holds", "Holds begun"),
            skipped: counter("storage_skipped_events", "Events skipped under a hold"),
            healed: counter("storage_healed_holds", "Held conversations re-driven to the end"),
            append_to_stored: metrics.register(
                "append_to_stored_seconds",
                "From the append of an event to its rows; one for each batch, of its first event",
                Latency::default(),
            ),
            lag: metrics.register(
                "storage_lag_seconds",
                "Age of the first event of chat.messages that was read and is not applied; 0 at the end of the log",
                Ages::new(metrics.clock().clone()),
            ),
            marks_lag: metrics.register(
                "storage_marks_lag_seconds",
                "Age of the first read mark that was read and is not applied, of all partitions; 0 at the end of the log",
                Ages::new(metrics.clock().clone()),
            ),
            clock: metrics.clock().clone(),
        }
    }
}

/// Since when records wait behind a batch that is applied: only a full one has others behind it, about as old as its last.
pub(crate) fn behind(batch: &[Record]) -> Option<i64> {
    batch.last().filter(|_| batch.len() == BATCH_RECORDS_MAX).map(|last| last.append_time_ms)
}
