//! Topics of the lossy lane.

use std::time::Duration;

use bytes::Bytes;
use events::topics::{Lane, TopicSpec};
use tokio::time::sleep;

use super::{Factory, fill, fresh, number, record, spec, with_topic, within};
use crate::{EventLog, LogError, NewRecord, PartitionReader, Record, SharedLog};

/// The pause between two records, where a test sends until one arrives.
const PACE: Duration = Duration::from_millis(50);
/// More records than any engine keeps of a lossy partition or has in flight.
const FLOOD: u32 = 30_000;

/// A handle to the log with a new lossy topic.
async fn with_lossy(factory: &dyn Factory, partitions: u32) -> (SharedLog, TopicSpec) {
    let log = factory.open().await;
    let name = fresh(factory, "signals");
    let declared = TopicSpec { lane: Lane::Lossy, retention: Some(Duration::from_secs(600)), ..spec(name, partitions) };
    within(log.create(&declared)).await.expect("the topic is created");
    (log, declared)
}

/// A reader at the partition's end.
async fn at_end(log: &dyn EventLog, topic: &str, partition: u32) -> Box<dyn PartitionReader> {
    let next = within(log.watermarks(topic, partition)).await.expect("readable").next;
    within(log.reader(topic, partition, next)).await.expect("readable")
}

/// Sends numbered records until the reader has one, and returns it. Any of them may be lost.
async fn send_until_read(log: &dyn EventLog, topic: &str, reader: &mut dyn PartitionReader) -> Record {
    let sending = async {
        for number in 0_u32.. {
            let headers = vec![("event".into(), Bytes::from_static(b"typing"))];
            log.send_lossy(topic, NewRecord { headers, ..record(1, number.to_be_bytes()) });
            sleep(PACE).await;
        }
    };
    within(async {
        tokio::select! {
            records = reader.next(1) => records.expect("the partition can be read").remove(0),
            () = sending => unreachable!("there are numbers enough"),
        }
    })
    .await
}

pub(super) async fn arrives(factory: &dyn Factory) {
    let (log, topic) = with_lossy(factory, 2).await;
    let mut reader = at_end(&*log, &topic.name, 1).await;
    let found = send_until_read(&*log, &topic.name, &mut *reader).await;
    assert_eq!((&found.key[..], found.header("event")), (&b"key"[..], Some(&b"typing"[..])));
    assert!(found.append_time_ms > 0, "the log stamps it");
    let later = send_until_read(&*log, &topic.name, &mut *reader).await;
    assert!(later.offset > found.offset);
    let marks = within(log.watermarks(&topic.name, 0)).await.expect("readable");
    assert_eq!(marks.next, 0, "nothing went to another partition");
}

pub(super) async fn names_its_partition(factory: &dyn Factory) {
    let (log, topic) = with_lossy(factory, 2).await;
    assert!(!log.send_lossy(&topic.name, NewRecord { partition: None, ..record(0, "x") }));
    let log = factory.reopen(log).await;
    let mut reader = at_end(&*log, &topic.name, 1).await;
    send_until_read(&*log, &topic.name, &mut *reader).await;
    log.close().await;
    assert!(!log.send_lossy(&topic.name, record(0, "x")), "a closed log takes nothing");
}

pub(super) async fn flood(factory: &dyn Factory) {
    let (log, durable) = with_topic(factory, 1).await;
    let (other, topic) = with_lossy(factory, 2).await;
    let mut reader = at_end(&*other, &topic.name, 1).await;
    for number in 0..FLOOD {
        // `send_lossy` is not async: it cannot wait.
        other.send_lossy(&topic.name, record(1, number.to_be_bytes()));
        log.send_lossy(&topic.name, record(1, number.to_be_bytes()));
    }
    let positions = fill(&*log, &durable, 0, 0..50).await;
    assert_eq!(positions.len(), 50, "what is durable gets through meanwhile");
    // The reader either continues or learns that it was too slow; a new reader that begins at the end continues.
    match within(reader.next(10)).await {
        Ok(records) => assert!(records.is_sorted_by_key(|record| record.offset)),
        Err(error) => assert!(matches!(error, LogError::OutOfRange { .. }), "{error:?}"),
    }
    let mut reader = at_end(&*log, &topic.name, 1).await;
    let before = number(&send_until_read(&*log, &topic.name, &mut *reader).await);
    let after = number(&send_until_read(&*log, &topic.name, &mut *reader).await);
    assert!(before <= FLOOD && after <= FLOOD);
}

pub(super) async fn described(factory: &dyn Factory) {
    let (log, topic) = with_lossy(factory, 3).await;
    let log = factory.reopen(log).await;
    let longer = TopicSpec { retention: None, ..topic.clone() };
    for declared in [&topic, &longer] {
        let found = within(log.describe(declared)).await.expect("readable").expect("there");
        assert_eq!((found.partitions, found.faults), (3, Vec::<String>::new()), "retention is no promise");
    }
    let more = TopicSpec { partitions: 4, ..topic };
    let found = within(log.describe(&more)).await.expect("readable").expect("there");
    assert_eq!(found.faults.len(), 1, "{:?}", found.faults);
}
