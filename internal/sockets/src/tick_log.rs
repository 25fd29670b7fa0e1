//! A log of ticks for tests with paused time. A test chooses how its readers behave at the end, and can leave
//! offsets at the end that no reader returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use domain::{Cursor, UserId};
use environment::{Clock, Entropy};
use eventlog::{
    AppendError, AppendReceipt, Commit, EventLog, GroupMember, LogError, NewRecord, PartitionReader, Record,
    TopicFound, TopicPartition, Watermarks,
};
use events::topics::{self, TopicSpec};
use events::{Codec, Encoded};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::node_clock::NodeClock;
use crate::partition::{Common, Log, Partition};
use crate::signals::MembersCache;

/// The log. All partitions of all topics have the same records.
pub(crate) struct TickLog {
    records: Vec<Record>,
    /// The next offset to be written, as `watermarks` reports it.
    next: u64,
    at_end: AtEnd,
    opened_at_end: AtomicUsize,
}

/// What a reader does behind the last record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AtEnd {
    Waits,
    Transient,
    Broken,
}

#[derive(Debug, thiserror::Error)]
#[error("it cannot be read on here")]
struct NoReading;

struct TickReader {
    records: Vec<Record>,
    at_end: AtEnd,
}

impl TickLog {
    /// A log with `records` records; the offsets from there up to `next` hold none.
    pub(crate) fn new(records: u64, next: u64, at_end: AtEnd) -> Arc<Self> {
        let Encoded { headers, payload } = Codec::compiled_in().tick();
        let record = |offset| Record {
            offset,
            append_time_ms: 0,
            key: Bytes::new(),
            headers: headers.clone(),
            payload: payload.clone(),
        };
        let records = (0..records).map(record).collect();
        Arc::new(Self { records, next, at_end, opened_at_end: AtomicUsize::new(0) })
    }

    /// A partition of a node on this log.
    pub(crate) fn partition(self: &Arc<Self>) -> Arc<Partition> {
        let common = Common {
            topic: topics::spec_of(topics::DELIVERIES),
            log: Log(self.clone()),
            codec: Codec::compiled_in(),
            clock: Clock::system(),
            entropy: Entropy::seeded(1),
            metrics: Metrics::new(&process::Metrics::new()),
            members: MembersCache::new(),
            node_clock: NodeClock::driven(),
            config: Arc::new(Config::default()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Partition::new(0, common)
    }

    /// The cursor behind the record at `offset`.
    pub(crate) fn cursor_behind(&self, offset: u64) -> Cursor {
        let record = self.records.iter().find(|record| record.offset == offset).unwrap();
        let generation = topics::spec_of(topics::DELIVERIES).generation;
        Cursor { generation, partition: 0, next: offset + 1, fingerprint: record.fingerprint() }
    }

    /// The user of the tests.
    pub(crate) fn user(&self) -> UserId {
        UserId::try_from(uuid::Uuid::from_u128(1)).unwrap()
    }

    /// How many readers were opened behind the last record.
    pub(crate) fn opened_at_end(&self) -> usize {
        self.opened_at_end.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl PartitionReader for TickReader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        match self.at_end {
            _ if !self.records.is_empty() => Ok(self.records.drain(..records_max.min(self.records.len())).collect()),
            AtEnd::Waits => std::future::pending().await,
            AtEnd::Transient => Err(LogError::Transient(NoReading.into())),
            AtEnd::Broken => Err(LogError::Broken(NoReading.into())),
        }
    }
}

#[async_trait]
impl EventLog for TickLog {
    async fn enqueue(&self, _: &str, _: NewRecord) -> Result<AppendReceipt, AppendError> {
        Err(AppendError::Closed)
    }

    fn send_lossy(&self, _: &str, _: NewRecord) -> bool {
        false
    }

    async fn reader(&self, _: &str, _: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let records: Vec<Record> = self.records.iter().filter(|record| record.offset >= from).cloned().collect();
        self.opened_at_end.fetch_add(usize::from(records.is_empty()), Ordering::SeqCst);
        Ok(Box::new(TickReader { records, at_end: self.at_end }))
    }

    async fn watermarks(&self, _: &str, _: u32) -> Result<Watermarks, LogError> {
        Ok(Watermarks { low: 0, next: self.next })
    }

    async fn offset_at(&self, _: &str, _: u32, _: i64) -> Result<Option<u64>, LogError> {
        Ok(None)
    }

    async fn join(&self, _: &str, _: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        Err(LogError::Closed)
    }

    async fn committed(&self, _: &str, _: &TopicPartition) -> Result<Option<Commit>, LogError> {
        Ok(None)
    }

    async fn commit_offline(&self, _: &str, _: &[(TopicPartition, Commit)]) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    async fn describe(&self, _: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        Ok(None)
    }

    async fn create(&self, _: &TopicSpec) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    async fn close(&self) {}
}
