//! Appends: order, positions, refusals and durability.

use bytes::Bytes;

use super::{Factory, fill, fresh, number, positions, read, record, with_topic, within};
use crate::{AppendError, LogError, NewRecord, RECORD_BYTES_MAX, append, partition_of, record_at};

pub(super) async fn keep_order(factory: &dyn Factory) {
    const RECORDS: u32 = 3000;
    let (log, topic) = with_topic(factory, 2).await;
    let mut receipts = Vec::new();
    for number in 0..RECORDS {
        receipts.push(log.enqueue(&topic, record(number % 2, number.to_be_bytes())).await.expect("taken"));
    }
    let positions = positions(receipts).await;
    for partition in 0..2 {
        let records = read(log.as_ref(), &topic, partition, 0, RECORDS as usize / 2).await;
        let numbers: Vec<u32> = records.iter().map(number).collect();
        let sent: Vec<u32> = (0..RECORDS).filter(|number| number % 2 == partition).collect();
        assert_eq!(numbers, sent, "the order of the calls is the order of the partition");
        for record in records {
            let position = positions[number(&record) as usize];
            assert_eq!(
                (position.partition, position.offset),
                (partition, record.offset),
                "the receipt names the place"
            );
        }
    }
}

pub(super) async fn by_key(factory: &dyn Factory) {
    const PARTITIONS: u32 = 5;
    let (log, topic) = with_topic(factory, PARTITIONS).await;
    for n in 0..40 {
        let key = format!("0190a000-0000-7000-8000-0000000000{n:02}");
        let new = NewRecord { key: key.clone(), partition: None, ..record(0, "x") };
        let position = within(append(log.as_ref(), &topic, new)).await.expect("appended");
        assert_eq!(position.partition, partition_of(key.as_bytes(), PARTITIONS));
        let found =
            within(record_at(log.as_ref(), &topic, position.partition, position.offset)).await.expect("readable");
        assert_eq!(&found.expect("it is there").key[..], key.as_bytes());
    }
}

pub(super) async fn by_partition(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 3).await;
    for partition in [2, 0, 1, 2] {
        let position = within(append(log.as_ref(), &topic, record(partition, "x"))).await.expect("appended");
        assert_eq!(position.partition, partition, "whatever the key says");
    }
    let refused = log.enqueue(&topic, record(3, "x")).await.map(drop);
    assert!(matches!(refused, Err(AppendError::NoTopic(_))), "{refused:?}");
    let refused = log.reader(&topic, 3, 0).await.map(drop);
    assert!(matches!(refused, Err(LogError::NoTopic(_))), "{refused:?}");
    let refused = log.watermarks(&topic, 3).await;
    assert!(matches!(refused, Err(LogError::NoTopic(_))), "{refused:?}");
}

pub(super) async fn round_trip(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    let headers = vec![
        ("event".into(), Bytes::from_static(b"message-sent")),
        ("empty".into(), Bytes::new()),
        ("event".into(), Bytes::from_static(&[0, 255])),
    ];
    let written = [
        NewRecord { headers, ..record(0, [0, 1, 255]) },
        NewRecord { key: String::new(), ..record(0, "no key text") },
        record(0, ""),
        record(0, vec![7; 200_000]),
    ];
    for new in &written {
        within(append(log.as_ref(), &topic, new.clone())).await.expect("appended");
    }
    let records = read(log.as_ref(), &topic, 0, 0, written.len()).await;
    for (record, new) in records.iter().zip(&written) {
        assert_eq!(record.key, new.key.as_bytes());
        assert_eq!(record.headers, new.headers);
        assert_eq!(record.payload, new.payload);
        assert!(record.append_time_ms > 0, "the log stamps it");
    }
    assert_eq!(records[0].header("empty"), Some(&[][..]));
    assert_eq!(records[0].header("none"), None);
}

pub(super) async fn too_large(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    let largest = RECORD_BYTES_MAX - record(0, "").bytes();
    let refused = log.enqueue(&topic, record(0, vec![1; largest + 1])).await.map(drop);
    assert!(matches!(refused, Err(AppendError::TooLarge)), "{refused:?}");
    // The body must not be compressible, so that its size on the wire is its size here.
    let mut noise = 1_u32;
    let payload: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.to_be_bytes()[0]
    })
    .take(largest)
    .collect();
    let position = within(append(log.as_ref(), &topic, record(0, payload.clone()))).await.expect("the largest fits");
    assert_eq!(position.offset, 0, "nothing was taken of the one that was refused");
    assert_eq!(read(log.as_ref(), &topic, 0, 0, 1).await[0].payload, payload);
}

pub(super) async fn no_topic(factory: &dyn Factory) {
    let log = factory.open().await;
    let name = fresh(factory, "missing");
    let refused = log.enqueue(&name, record(0, "x")).await.map(drop);
    assert!(matches!(refused, Err(AppendError::NoTopic(_))), "{refused:?}");
    let refused = log.reader(&name, 0, 0).await.map(drop);
    assert!(matches!(refused, Err(LogError::NoTopic(_))), "{refused:?}");
    let refused = log.watermarks(&name, 0).await;
    assert!(matches!(refused, Err(LogError::NoTopic(_))), "{refused:?}");
    let refused = log.offset_at(&name, 0, 0).await;
    assert!(matches!(refused, Err(LogError::NoTopic(_))), "{refused:?}");
    let refused = log.join(&fresh(factory, "group"), &[&name]).await.map(drop);
    assert!(matches!(refused, Err(LogError::NoTopic(_))), "{refused:?}");
}

pub(super) async fn durable(factory: &dyn Factory) {
    let (mut log, topic) = with_topic(factory, 2).await;
    let mut expected = Vec::new();
    for round in 0..3_u32 {
        let numbers = round * 100..round * 100 + 100;
        let positions = fill(log.as_ref(), &topic, 1, numbers.clone()).await;
        let offsets: Vec<u64> = positions.iter().map(|position| position.offset).collect();
        assert_eq!(offsets, numbers.clone().map(u64::from).collect::<Vec<_>>(), "offsets go on where they were");
        expected.extend(numbers);
        log = factory.reopen(log).await;
        let marks = within(log.watermarks(&topic, 1)).await.expect("readable");
        assert_eq!((marks.low, marks.next), (0, expected.len() as u64));
        let records = read(log.as_ref(), &topic, 1, 0, expected.len()).await;
        assert_eq!(records.iter().map(number).collect::<Vec<_>>(), expected);
    }
}

pub(super) async fn closed(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    let receipt = log.enqueue(&topic, record(0, "x")).await.expect("taken");
    let mut waiting = log.reader(&topic, 0, 1).await.expect("readable");
    within(log.close()).await;
    assert_eq!(within(receipt).await.expect("what was taken is finished").offset, 0);
    let refused = log.enqueue(&topic, record(0, "x")).await.map(drop);
    assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
    let refused = within(waiting.next(1)).await.map(drop);
    assert!(matches!(refused, Err(LogError::Closed)), "{refused:?}");
    let refused = within(log.watermarks(&topic, 0)).await;
    assert!(matches!(refused, Err(LogError::Closed)), "{refused:?}");
    within(log.close()).await;
}
