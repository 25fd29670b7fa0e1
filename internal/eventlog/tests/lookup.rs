//! Lookups in a log with empty offsets, as another system's transactional producer leaves them in Kafka.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use eventlog::{
    AppendError, AppendReceipt, Commit, EventLog, GroupMember, LogError, NewRecord, PartitionReader, PatientError,
    PatientReader, RECORD_WITHIN, Record, TopicFound, TopicPartition, Watermarks, last_record, next_before_end,
    record_at,
};
use events::topics::TopicSpec;
use tokio::time::Instant;

const TOPIC: &str = "topic";

/// A partition with records at the given offsets, and an end.
#[derive(Default)]
struct Gapped {
    records: Vec<u64>,
    next: u64,
    /// The number of readers that return nothing from now on.
    silent: AtomicU32,
    /// The append time of all records; changing it simulates another log.
    time_ms: AtomicI64,
}

impl Gapped {
    fn new(records: impl IntoIterator<Item = u64>, next: u64) -> Self {
        Self { records: records.into_iter().collect(), next, ..Self::default() }
    }
}

struct GappedReader(Vec<u64>, i64);

#[async_trait]
impl PartitionReader for GappedReader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        let offsets: Vec<u64> = self.0.drain(..records_max.min(self.0.len())).collect();
        let (key, headers, payload) = (Bytes::new(), Vec::new(), Bytes::new());
        let record = |offset| Record {
            offset,
            append_time_ms: self.1,
            key: key.clone(),
            headers: headers.clone(),
            payload: payload.clone(),
        };
        Ok(offsets.into_iter().map(record).collect())
    }
}

#[async_trait]
impl EventLog for Gapped {
    async fn enqueue(&self, _: &str, _: NewRecord) -> Result<AppendReceipt, AppendError> {
        Err(AppendError::Closed)
    }

    fn send_lossy(&self, _: &str, _: NewRecord) -> bool {
        false
    }

    async fn reader(&self, _: &str, _: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let silent = self.silent.load(Ordering::SeqCst);
        self.silent.store(silent.saturating_sub(1), Ordering::SeqCst);
        let given = self.records.iter().copied().filter(|offset| silent == 0 && *offset >= from);
        Ok(Box::new(GappedReader(given.collect(), self.time_ms.load(Ordering::SeqCst))))
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

async fn last(records: impl IntoIterator<Item = u64>, next: u64) -> Result<Option<u64>, LogError> {
    let log = Gapped::new(records, next);
    Ok(last_record(&log, TOPIC, 0).await?.map(|record| record.offset))
}

#[tokio::test(start_paused = true)]
async fn an_offset_without_a_record_is_not_waited_for_for_ever() {
    let log = Gapped::new([0, 1, 2, 5], 7);
    let found = async |offset| record_at(&log, TOPIC, 0, offset).await;
    assert_eq!(found(5).await.unwrap().unwrap().offset, 5);
    assert_eq!(found(4).await.unwrap(), None);
    assert_eq!(found(7).await.unwrap(), None, "behind the end");
    let begun = Instant::now();
    let error = found(6).await.unwrap_err();
    assert!(matches!(error, LogError::Transient(_)) && error.to_string().contains("gave no record"), "{error}");
    assert_eq!(begun.elapsed(), RECORD_WITHIN);
    let mut reader = log.reader(TOPIC, 0, 6).await.unwrap();
    assert!(matches!(next_before_end(&mut *reader, 10).await, Err(LogError::Transient(_))));
}

#[tokio::test(start_paused = true)]
async fn the_last_record_may_stand_some_offsets_before_the_end() {
    assert_eq!(last([], 0).await.unwrap(), None);
    assert_eq!(last(0..3, 3).await.unwrap(), Some(2));
    assert_eq!(last(0..100, 100).await.unwrap(), Some(99));
    assert_eq!(last([0, 1, 4], 6).await.unwrap(), Some(4));
    assert_eq!(last([0], 16).await.unwrap(), Some(0));
    assert_eq!(last(0..9, 3).await.unwrap(), Some(2), "what came since is another call's");
    assert!(matches!(last([0], 17).await, Err(LogError::Transient(_))), "too far back");
}

fn patient(log: &Gapped) -> PatientReader<'_> {
    PatientReader::new(log, TopicPartition::new(TOPIC, 0), 0, None)
}

/// Reads the offsets up to `end`, two at a time.
async fn read(reader: &mut PatientReader<'_>, end: u64) -> Result<Vec<u64>, PatientError> {
    let mut offsets = Vec::new();
    loop {
        let records = reader.next(end, 2).await?;
        if records.is_empty() {
            return Ok(offsets);
        }
        offsets.extend(records.iter().map(|record| record.offset));
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_patiently_outlasts_a_partition_without_a_leader() {
    let log = Gapped::new(0..9, 9);
    log.silent.store(4, Ordering::SeqCst);
    let mut reader = patient(&log);
    assert_eq!(read(&mut reader, 5).await.unwrap(), [0, 1, 2, 3, 4, 5], "whole batches");
    assert!(reader.next(5, 2).await.unwrap().is_empty());
    assert_eq!(read(&mut reader, 9).await.unwrap(), [6, 7, 8], "and goes on to a later end");
}

#[tokio::test(start_paused = true)]
async fn who_reads_patiently_gives_up_and_says_where_to_go_on() {
    let (log, begun) = (Gapped::new(0..9, 9), Instant::now());
    log.silent.store(u32::MAX, Ordering::SeqCst);
    let error = patient(&log).next(9, 2).await.unwrap_err();
    let waited = begun.elapsed().as_secs();
    assert!((180..220).contains(&waited), "{waited} s");
    assert!(matches!(error, PatientError::Log(LogError::Transient(_))), "{error:?}");
    assert!(error.to_string().contains("topic/0 gave nothing from offset 0 on"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_end_without_records_is_an_end() {
    let log = Gapped::new([0, 1, 2], 5);
    assert_eq!(read(&mut patient(&log), 5).await.unwrap(), [0, 1, 2]);
    assert_eq!(read(&mut patient(&Gapped::new([0], 5)), 5).await.unwrap(), [0]);
}

#[tokio::test(start_paused = true)]
async fn who_reads_patiently_does_not_go_on_in_another_log() {
    let log = Gapped::new([0, 1, 2], 5);
    let mut reader = patient(&log);
    assert_eq!(read(&mut reader, 3).await.unwrap(), [0, 1, 2]);
    log.time_ms.store(1, Ordering::SeqCst);
    let error = reader.next(5, 2).await.unwrap_err();
    assert!(matches!(&error, PatientError::NotTheLog(at, 2) if at.partition == 0), "{error}");
}
