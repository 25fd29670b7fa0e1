//! The event log: the seam between the services and Kafka or the embedded engine.
//!
//! A log is topics of partitions of records. A partition is ordered; a record has its position (offset) and append time
//! from the log, never from the writer. What was acknowledged is durable, and nobody reads what is not. No reader ever
//! skips or rewinds by itself: an offset that is not there is an error.
//!
//! All this is said of topics of the durable lane. A topic of the lossy one (`events::topics::Lane`) is written without
//! waiting ([`EventLog::send_lossy`]) and read from its end; records that were taken may be lost, and their offsets mean
//! nothing to another process. What is written there never takes the room or the time of what is durable.
//!
//! Reading and group membership are two things here: a group says who owns which partition and keeps their commits; a
//! [`PartitionReader`] reads one partition from an offset that its caller chose. So storage can resume from its rows, a
//! websocket node can read without a group, and the fan-out can read a range again, all with one kind of reader.

mod decoded_record;
mod error;
mod group;
mod lookup;
mod partitioner;
mod patient;
mod quarantine;
mod record;

pub mod around;
pub mod conformance;
pub mod consume;
pub mod embedded;
pub mod intake;
pub mod measure;
pub mod promises;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::topics::{Lane, TopicSpec};

pub use decoded_record::{DecodedRecord, Meaning};
pub use error::{AppendError, CommitError, LogError};
pub use group::{Assigned, Commit, Committer, GroupEvent, GroupMember, Revocation, TopicPartition};
pub use lookup::{RECORD_WITHIN, last_record, next_before_end, record_at, stands};
pub use partitioner::partition_of;
pub use patient::{PatientError, PatientReader};
pub use quarantine::Quarantine;
pub use record::{AppendReceipt, Header, NewRecord, Position, Record, Watermarks};

/// The most bytes of a record that a log takes, as [`NewRecord::bytes`] counts them.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a commit's metadata (Kafka's `offset.metadata.max.bytes` is 4,096).
pub const METADATA_BYTES_MAX: usize = 4_000;

/// A shared handle to a log.
pub type SharedLog = Arc<dyn EventLog>;

/// What a topic is, as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFound {
    /// Its partitions.
    pub partitions: u32,
    /// Everything about it that cannot keep the promises of its [`TopicSpec`], in words; empty when it can.
    pub faults: Vec<String>,
    /// It has more partitions than it must have, in words. Those are nobody's; the others keep their promises.
    pub grown: Option<String>,
}

impl TopicFound {
    /// A topic with so many partitions and that retention, compared with what it must be.
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
    /// Hands a record to the log; returns when it has been taken into a bounded queue.
    ///
    /// Ordering: of two calls for one partition that follow one another, the first one's record stands before the
    /// second's, if both get there. Durability: when the [`AppendReceipt`] resolves to a position. At the bound this waits at
    /// most a second, then answers [`AppendError::Busy`].
    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError>;

    /// Hands a record for the partition that it names to a topic of the lossy lane, and forgets it: nobody is told what
    /// becomes of it. Never waits: at the bound, and where there is no such topic as far as is known, the record is dropped.
    ///
    /// Whether it was taken. That says nothing about its being read: a sick broker loses it some seconds later. What is
    /// sent here shares no queue and no connection with what [`EventLog::enqueue`] takes.
    fn send_lossy(&self, topic: &str, record: NewRecord) -> bool;

    /// A reader of one partition that begins at `from`, which may be the next offset to be written.
    ///
    /// Whether `from` is still there shows at the first read.
    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError>;

    /// The first offset that is there and the next one to be written (durably), as of this call: a record whose
    /// receipt resolved before the call lies below `next`.
    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError>;

    /// The offset of the last record before `end`, where the log reaches; `None` when there is none. It may be less than the
    /// offset before: a foreign transactional producer leaves control records, which count as offsets and are nobody's to
    /// read. For those who would wait for the record before the end; it costs a read where there can be such gaps.
    async fn last_before(&self, topic: &str, partition: u32, end: u64) -> Result<Option<u64>, LogError> {
        let _ = (topic, partition);
        Ok(end.checked_sub(1))
    }

    /// The offset of the first record appended at or after `time_ms` (milliseconds since the Unix epoch); `None` when
    /// there is none yet.
    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError>;

    /// Becomes a member of `group` for `topics`. The member gets partitions through [`GroupMember::next`].
    async fn join(&self, group: &str, topics: &[&str]) -> Result<Box<dyn GroupMember>, LogError>;

    /// What `group` has committed; `None` when nothing, or when it has expired.
    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<Commit>, LogError>;

    /// Commits for a group that has no members (of operators; refused while it has some).
    async fn commit_offline(&self, group: &str, commits: &[(TopicPartition, Commit)]) -> Result<(), LogError>;

    /// What the topic is; `None` when there is none.
    async fn describe(&self, topic: &TopicSpec) -> Result<Option<TopicFound>, LogError>;

    /// Creates the topic, empty. One that exists is left as it is.
    async fn create(&self, topic: &TopicSpec) -> Result<(), LogError>;

    /// Finishes what was enqueued, within a bound of ten seconds, and releases the log. Later calls fail with `Closed`.
    async fn close(&self);
}

/// Reads one partition in order, from where it was begun. Dropping it ends the reading.
#[async_trait]
pub trait PartitionReader: Send {
    /// The next records in order, at least one and at most `records_max`; waits until there is one.
    ///
    /// Cancel safe: a call that is dropped has taken nothing. The offsets may have gaps (Kafka's control records), never
    /// a step back. [`LogError::OutOfRange`] when the next offset was trimmed or lies beyond the log's end (a
    /// re-created topic); the reader is of no use then.
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

    /// Issue 10, item 5: partitions that somebody added are nobody's, and no reason to shut everybody out.
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
