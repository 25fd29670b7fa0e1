//! The conformance suite that every engine of the log passes.
//!
//! An engine's tests hand a [`Factory`] to each of [`CASES`]. Every case makes topics and groups of its own, so cases
//! can run side by side on one log. A failed case panics.

mod appending;
mod groups;
mod lossy;
mod offline;
mod reading;
mod rebalancing;
mod topics;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use events::topics::{Lane, TopicSpec};
use tokio::time::timeout;

use crate::{AppendReceipt, EventLog, NewRecord, PartitionReader, Position, Record, SharedLog};

/// The timeout for what must happen; far longer than it needs on any engine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a case waits to see that something does not happen.
const QUIET: Duration = Duration::from_millis(300);

/// Opens the log under test.
#[async_trait]
pub trait Factory: Send + Sync {
    /// Opens a handle to the log, as another process would.
    async fn open(&self) -> SharedLog;

    /// Closes that handle and reopens the log from its durable state.
    async fn reopen(&self, log: SharedLog) -> SharedLog;

    /// Makes the log trim the records that the topic's first partition has now, except the newest one. The topic
    /// was created with [`RETENTION`].
    async fn trim(&self, log: &SharedLog, topic: &str);

    /// A part of every name that a case uses, so that runs on the same servers do not collide.
    fn run_name(&self) -> String;
}

/// The retention of topics that are to be trimmed.
pub const RETENTION: Duration = Duration::from_secs(3600);

/// One requirement on every engine.
pub struct Case {
    /// The requirement in words.
    pub name: &'static str,
    /// The test; it panics when the requirement is not met.
    pub run: for<'a> fn(&'a dyn Factory) -> Running<'a>,
}

/// A running case.
pub type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// All cases.
pub const CASES: &[Case] = &[
    Case { name: "appends of one task keep their order", run: |f| Box::pin(appending::keep_order(f)) },
    Case { name: "a key has the partition that Kafka gives it", run: |f| Box::pin(appending::by_key(f)) },
    Case { name: "an explicit partition counts", run: |f| Box::pin(appending::by_partition(f)) },
    Case { name: "records read as they were written", run: |f| Box::pin(appending::round_trip(f)) },
    Case { name: "too large a record is refused", run: |f| Box::pin(appending::too_large(f)) },
    Case { name: "an unknown topic is refused", run: |f| Box::pin(appending::no_topic(f)) },
    Case { name: "what was acknowledged is there after reopening", run: |f| Box::pin(appending::durable(f)) },
    Case { name: "a closed log refuses", run: |f| Box::pin(appending::closed(f)) },
    Case { name: "nobody reads beyond the watermark", run: |f| Box::pin(reading::only_durable(f)) },
    Case { name: "watermarks are exact", run: |f| Box::pin(reading::watermarks(f)) },
    Case { name: "a reader at the end waits", run: |f| Box::pin(reading::waits(f)) },
    Case { name: "a dropped read has taken nothing", run: |f| Box::pin(reading::cancel_safe(f)) },
    Case { name: "readers of one partition are independent", run: |f| Box::pin(reading::independent(f)) },
    Case { name: "an offset beyond the end is an error", run: |f| Box::pin(reading::beyond_end(f)) },
    Case { name: "a trimmed offset is an error", run: |f| Box::pin(reading::trimmed(f)) },
    Case { name: "a record has one fingerprint", run: |f| Box::pin(reading::fingerprints(f)) },
    Case { name: "records are found by time", run: |f| Box::pin(reading::by_time(f)) },
    Case { name: "a lone member gets everything", run: |f| Box::pin(groups::lone_member(f)) },
    Case { name: "a commit and its metadata come back", run: |f| Box::pin(groups::commit_round_trip(f)) },
    Case { name: "a crash redelivers from the commit", run: |f| Box::pin(groups::redelivery(f)) },
    Case { name: "commits are all or none", run: |f| Box::pin(groups::all_or_none(f)) },
    Case { name: "a member that left is fenced", run: |f| Box::pin(groups::left_is_fenced(f)) },
    Case { name: "two members share every partition once", run: |f| Box::pin(rebalancing::shared_once(f)) },
    Case { name: "commits count until the release", run: |f| Box::pin(rebalancing::commit_before_release(f)) },
    Case { name: "who does not release is fenced", run: |f| Box::pin(rebalancing::zombie(f)) },
    Case { name: "operators commit for groups without members", run: |f| Box::pin(offline::commits(f)) },
    Case { name: "no operator commits under a member", run: |f| Box::pin(offline::refused(f)) },
    Case { name: "a topic is created once and described", run: |f| Box::pin(topics::created_once(f)) },
    Case { name: "differences from the declaration are named", run: |f| Box::pin(topics::faults(f)) },
    Case { name: "a lossy record reaches who reads at the end", run: |f| Box::pin(lossy::arrives(f)) },
    Case { name: "a lossy record names its partition", run: |f| Box::pin(lossy::names_its_partition(f)) },
    Case { name: "lossy records beyond the bound are dropped and hold nothing up", run: |f| Box::pin(lossy::flood(f)) },
    Case { name: "a lossy topic promises its partitions", run: |f| Box::pin(lossy::described(f)) },
];

/// A name that no other run or case uses.
fn fresh(factory: &dyn Factory, what: &str) -> String {
    static SO_FAR: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}-{}", factory.run_name(), SO_FAR.fetch_add(1, Ordering::Relaxed))
}

fn spec(name: String, partitions: u32) -> TopicSpec {
    TopicSpec { name, partitions, generation: 0, retention: Some(RETENTION), lane: Lane::Durable }
}

/// A handle to the log with a new topic.
async fn with_topic(factory: &dyn Factory, partitions: u32) -> (SharedLog, String) {
    let log = factory.open().await;
    let name = fresh(factory, "topic");
    log.create(&spec(name.clone(), partitions)).await.expect("the topic is created");
    (log, name)
}

/// A record for that partition.
fn record(partition: u32, payload: impl Into<Vec<u8>>) -> NewRecord {
    NewRecord {
        key: "key".to_owned(),
        partition: Some(partition),
        headers: Vec::new(),
        payload: Bytes::from(payload.into()),
    }
}

/// Enqueues numbered records for the partition, one after the other, without waiting for any.
async fn enqueue(log: &dyn EventLog, topic: &str, partition: u32, numbers: std::ops::Range<u32>) -> Vec<AppendReceipt> {
    let mut receipts = Vec::new();
    for number in numbers {
        let record = record(partition, number.to_be_bytes());
        receipts.push(log.enqueue(topic, record).await.expect("the log takes a record"));
    }
    receipts
}

async fn positions(receipts: Vec<AppendReceipt>) -> Vec<Position> {
    let mut positions = Vec::new();
    for receipt in receipts {
        positions.push(within(receipt).await.expect("the record is appended"));
    }
    positions
}

/// Appends numbered records and waits until they are durable.
async fn fill(log: &dyn EventLog, topic: &str, partition: u32, numbers: std::ops::Range<u32>) -> Vec<Position> {
    positions(enqueue(log, topic, partition, numbers).await).await
}

/// The next `count` records of the reader.
async fn take(reader: &mut dyn PartitionReader, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let more = within(reader.next(count - records.len())).await.expect("the partition can be read");
        assert!(!more.is_empty() && more.len() <= count - records.len(), "at least one and at most as many as asked");
        records.extend(more);
    }
    records
}

/// The first `count` records from `from` on.
async fn read(log: &dyn EventLog, topic: &str, partition: u32, from: u64, count: usize) -> Vec<Record> {
    let mut reader = log.reader(topic, partition, from).await.expect("the partition can be read");
    take(reader.as_mut(), count).await
}

fn number(record: &Record) -> u32 {
    u32::from_be_bytes(record.payload[..].try_into().expect("the body is a number"))
}

/// Waits for something that must happen in time.
async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it happens in time")
}

/// Asserts that something does not happen.
async fn not_within<T>(what: impl Future<Output = T>) {
    assert!(timeout(QUIET, what).await.is_err(), "it must not happen");
}
