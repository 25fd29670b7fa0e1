//! The event log: the interface between the services and Kafka or the embedded engine.
//!
//! A log has topics, a topic has partitions, a partition is a sequence of records. The log, never the writer,
//! assigns a record its position (offset) and append time. An acknowledged record is durable, and readers see only
//! durable records. No reader ever skips or rewinds by itself: a missing offset is an error.
//!
//! These promises hold for topics of the durable lane. Topics of the lossy lane (`events::topics::Lane`) are
//! written without waiting ([`EventLog::send_lossy`]) and read from their end; accepted records may be lost, and
//! their offsets mean nothing to another process. Lossy records never take queue space or time from durable ones.
//!
//! Reading is separate from group membership: a group assigns partitions to owners and keeps their commits; a
//! [`PartitionReader`] reads one partition from an offset that its caller chose. So storage can resume from its
//! rows, a websocket node can read without a group, and the fan-out can read a range again, all with the same kind
//! of reader.

mod append_observer;
mod decoded_record;
mod error;
mod group;
mod lookup;
mod partitioner;
mod patient;
mod quarantine;
mod record;

pub mod conformance;
pub mod consume;
pub mod embedded;
pub mod intake;
pub mod measure;
pub mod promises;
pub mod wrapper;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::topics::{Lane, TopicSpec};

pub use append_observer::{AppendObserver, AppendOutcome};
pub use decoded_record::{DecodedRecord, Meaning};
pub use error::{AppendError, CommitError, LogError};
pub use events::Header;
pub use group::{Assigned, Commit, Committer, GroupEvent, GroupMember, Revocation, TopicPartition};
pub use lookup::{RECORD_WITHIN, last_record, next_before_end, record_at, stands};
pub use partitioner::{partition_of, partition_of_id};
pub use patient::{PatientError, PatientReader};
pub use quarantine::Quarantine;
pub use record::{AppendReceipt, NewRecord, Position, Record, Watermarks};

/// The most bytes of a record, as [`NewRecord::bytes`] counts them.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a commit's metadata (Kafka's `offset.metadata.max.bytes` is 4,096).
pub const METADATA_BYTES_MAX: usize = 4_000;

/// A shared handle to a log.
pub type SharedLog = Arc<dyn EventLog>;

/// The properties of an existing topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFound {
    /// The number of its partitions.
    pub partitions: u32,
    /// Every property that breaks a promise of its [`TopicSpec`], in words; empty when there is none.
    pub faults: Vec<String>,
    /// Says in words that the topic has more partitions than its spec. Those are ignored; the others keep their
    /// promises.
    pub grown: Option<String>,
}

impl TopicFound {
    /// Compares a topic's partitions and retention with its spec.
    #[must_use]
    pub fn compare(spec: &TopicSpec, partitions: u32, retention: Option<Duration>) -> Self {
        let (mut faults, name, declared) = (Vec::new(), &spec.name, spec.partitions);
        if partitions < declared {
            faults.push(format!("{name} has {partitions} partitions, not {declared}"));
        }
        let grown = (partitions > declared).then(|| {
            format!(
                "{name} has {partitions} partitions, not {declared}: somebody added some, nothing in them is read, and what \
                 another producer writes by key goes astray; give that producer the partition of the first {declared} \
                 (partitions cannot be taken away again)"
            )
        });
        if spec.lane == Lane::Durable && retention != spec.retention {
            let (found, wanted) = (words(retention), words(spec.retention));
            faults.push(format!("{} keeps its records {found}, not {wanted}", spec.name));
        }
        Self { partitions, faults, grown }
    }
}

/// A retention in words.
fn words(retention: Option<Duration>) -> String {
    match retention {
        None => "for ever".to_owned(),
        Some(time) => format!("for {} s", time.as_secs_f64()),
    }
}

/// An event log.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Enqueues a record; returns once it is in a bounded queue.
    ///
    /// Ordering: of two successive calls for one partition, the first record gets the lower offset, if both are
    /// appended. Durability: a record is durable when its [`AppendReceipt`] resolves to a position. At the bound
    /// this waits at most a second, then fails with [`AppendError::Busy`].
    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError>;

    /// Sends a record, which must name its partition, to a topic of the lossy lane, without a receipt. Never
    /// waits: at the bound, or when the topic is not known to exist, the record is dropped.
    ///
    /// Returns whether the record was accepted. That does not mean that it will be read: an unhealthy broker loses
    /// it some seconds later. Lossy records share no queue and no connection with those of [`EventLog::enqueue`].
    fn send_lossy(&self, topic: &str, record: NewRecord) -> bool;

    /// A reader of one partition from `from` on, which may be the next offset to be written.
    ///
    /// The first read fails when `from` was trimmed.
    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError>;

    /// The first offset that was not trimmed, and the next durable offset to be written, as of this call: a record
    /// whose receipt resolved before the call lies below `next`.
    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError>;

    /// The offset of the last record before `end`, where `end` is not beyond the log's end; `None` when there is
    /// none. It may be less than `end - 1`: a transactional producer of another system leaves control records,
    /// which take offsets and cannot be read. A caller that waits for the record before the end uses this; it
    /// costs a read where such gaps are possible.
    async fn last_before(&self, topic: &str, partition: u32, end: u64) -> Result<Option<u64>, LogError> {
        let _ = (topic, partition);
        Ok(end.checked_sub(1))
    }

    /// The offset of the first record appended at or after `time_ms` (milliseconds since the Unix epoch); `None`
    /// when there is none yet.
    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError>;

    /// Joins `group` as a member for `topics`. Partitions are assigned through [`GroupMember::next`].
    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError>;

    /// The group's commit; `None` when there is none, or when it has expired.
    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError>;

    /// Commits for a group without members, for operators; refused while the group has members.
    async fn commit_offline(&self, group: &str, commits: &[(TopicPartition, Commit)]) -> Result<(), LogError>;

    /// The properties of the topic; `None` when it does not exist.
    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError>;

    /// Creates the topic, empty. An existing topic is not changed.
    async fn create(&self, topic: &TopicSpec) -> Result<(), LogError>;

    /// Finishes the enqueued records, within ten seconds, and releases the log. Later calls fail with `Closed`.
    async fn close(&self);
}

/// Reads one partition in order, from the offset where it began. Dropping it ends the reading.
#[async_trait]
pub trait PartitionReader: Send {
    /// The next records in order, at least one and at most `records_max`; waits until there is one.
    ///
    /// Cancel safe: a cancelled call has consumed nothing. The offsets may have gaps (Kafka's control records),
    /// but never go back. Fails with [`LogError::OutOfRange`] when the next offset was trimmed or lies beyond the
    /// log's end (a re-created topic); the reader cannot be used after that.
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError>;
}

/// Appends one record and waits until it is durable.
///
/// # Errors
/// As [`EventLog::enqueue`] and its receipt.
pub async fn append(log: &dyn EventLog, topic: &str, record: NewRecord) -> Result<Position, AppendError> {
    log.enqueue(topic, record).await?.await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 10, item 5: partitions that somebody added are ignored, and do not make the programs unready.
    #[test]
    fn a_topic_that_has_grown_keeps_its_promises_and_says_so() {
        let spec = events::topics::spec_of(events::topics::MESSAGES);
        let found = |partitions| TopicFound::compare(spec, partitions, spec.retention);
        assert_eq!((found(12).faults.len(), found(12).grown), (0, None));
        assert_eq!(found(11).faults.len(), 1, "one is missing");
        let grown = found(14);
        assert!(grown.faults.is_empty(), "{:?}", grown.faults);
        assert!(grown.grown.is_some_and(|words| words.contains("14 partitions, not 12")));
    }
}
