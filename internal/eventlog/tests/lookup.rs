//! Looking records up in a log with offsets that hold none, as a foreign transactional producer leaves them in Kafka.

#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use bytes::Bytes;
use eventlog::{
    AppendError, Commit, EventLog, GroupMember, LogError, NewRecord, PartitionReader, RECORD_WITHIN, Receipt, Record,
    TopicFound, TopicPartition, Watermarks, last_record, next_before_end, record_at,
};
use events::topics::TopicSpec;
use tokio::time::Instant;

const TOPIC: &str = "topic";

/// A partition with records at these offsets, and an end.
struct Gapped {
    records: Vec<u64>,
    next: u64,
}

struct GappedReader(Vec<u64>);

#[async_trait]
impl PartitionReader for GappedReader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        let offsets = self.0.drain(..records_max.min(self.0.len()));
        let (key, headers, payload) = (Bytes::new(), Vec::new(), Bytes::new());
        let record = |offset| Record {
            offset,
            append_time_ms: 0,
            key: key.clone(),
            headers: headers.clone(),
            payload: payload.clone(),
        };
        Ok(offsets.map(record).collect())
    }
}

#[async_trait]
impl EventLog for Gapped {
    async fn enqueue(&self, _: &str, _: NewRecord) -> Result<Receipt, AppendError> {
        Err(AppendError::Closed)
    }
    async fn reader(&self, _: &str, _: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        Ok(Box::new(GappedReader(self.records.iter().copied().filter(|offset| *offset >= from).collect())))
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
    let log = Gapped { records: records.into_iter().collect(), next };
    Ok(last_record(&log, TOPIC, 0).await?.map(|record| record.offset))
}

#[tokio::test(start_paused = true)]
async fn an_offset_without_a_record_is_not_waited_for_for_ever() {
    let log = Gapped { records: vec![0, 1, 2, 5], next: 7 };
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
