//! Reading: which records are visible, from which offset, and what a missing offset means.

use std::time::Duration;

use super::{Factory, enqueue, fill, not_within, number, positions, read, take, with_topic, within};
use crate::{LogError, Watermarks, record_at};

pub(super) async fn only_durable(factory: &dyn Factory) {
    const RECORDS: u32 = 2000;
    let (log, topic) = with_topic(factory, 1).await;
    let mut reader = log.reader(&topic, 0, 0).await.expect("readable");
    let (receipts, ()) = tokio::join!(enqueue(log.as_ref(), &topic, 0, 0..RECORDS), async {
        let mut seen = 0;
        while seen < u64::from(RECORDS) {
            let last = within(reader.next(100)).await.expect("readable").pop().expect("at least one");
            let marks = within(log.watermarks(&topic, 0)).await.expect("readable");
            assert!(last.offset < marks.next, "offset {} was read, but {marks:?}", last.offset);
            seen = last.offset + 1;
        }
    });
    let positions = positions(receipts).await;
    assert_eq!(positions.last().map(|position| position.offset), Some(u64::from(RECORDS) - 1));
}

pub(super) async fn watermarks(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 2).await;
    let marks = within(log.watermarks(&topic, 0)).await.expect("readable");
    assert_eq!(marks, Watermarks { low: 0, next: 0 }, "a new topic is empty");
    for n in 0..20 {
        fill(log.as_ref(), &topic, 0, n..n + 1).await;
        let marks = within(log.watermarks(&topic, 0)).await.expect("readable");
        assert_eq!(marks, Watermarks { low: 0, next: u64::from(n) + 1 }, "a receipt lies below `next`");
    }
    let marks = within(log.watermarks(&topic, 1)).await.expect("readable");
    assert_eq!(marks, Watermarks { low: 0, next: 0 }, "partitions are apart");
    assert_eq!(within(record_at(log.as_ref(), &topic, 0, 20)).await.expect("readable"), None);
    let last = within(record_at(log.as_ref(), &topic, 0, 19)).await.expect("readable").expect("there");
    assert_eq!(number(&last), 19);
}

pub(super) async fn waits(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    fill(log.as_ref(), &topic, 0, 0..5).await;
    let mut reader = log.reader(&topic, 0, 5).await.expect("readable");
    not_within(reader.next(10)).await;
    for n in 5..8 {
        let (records, _) = tokio::join!(take(reader.as_mut(), 1), fill(log.as_ref(), &topic, 0, n..n + 1));
        assert_eq!((records[0].offset, number(&records[0])), (u64::from(n), n));
    }
    not_within(reader.next(10)).await;
}

pub(super) async fn cancel_safe(factory: &dyn Factory) {
    const RECORDS: u32 = 200;
    let (log, topic) = with_topic(factory, 1).await;
    let mut reader = log.reader(&topic, 0, 0).await.expect("readable");
    let (receipts, numbers) = tokio::join!(enqueue(log.as_ref(), &topic, 0, 0..RECORDS), async {
        let (mut numbers, mut micros) = (Vec::new(), 0);
        while numbers.len() < RECORDS as usize {
            // Increase the delay each time, so that the call is cancelled at every possible point.
            micros += 50;
            if let Ok(records) = tokio::time::timeout(Duration::from_micros(micros), reader.next(7)).await {
                numbers.extend(records.expect("readable").iter().map(number));
            }
        }
        numbers
    });
    positions(receipts).await;
    assert_eq!(numbers, (0..RECORDS).collect::<Vec<_>>());
}

pub(super) async fn independent(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    fill(log.as_ref(), &topic, 0, 0..50).await;
    let mut live = log.reader(&topic, 0, 50).await.expect("readable");
    let mut early = log.reader(&topic, 0, 0).await.expect("readable");
    let mut late = log.reader(&topic, 0, 40).await.expect("readable");
    for n in 0..10 {
        assert_eq!(number(&take(early.as_mut(), 1).await[0]), n);
        assert_eq!(number(&take(late.as_mut(), 1).await[0]), 40 + n);
    }
    not_within(live.next(1)).await;
    drop(late);
    let range = read(log.as_ref(), &topic, 0, 20, 10).await;
    assert_eq!(range.iter().map(number).collect::<Vec<_>>(), (20..30).collect::<Vec<_>>());
    fill(log.as_ref(), &topic, 0, 50..55).await;
    assert_eq!(take(live.as_mut(), 5).await.iter().map(number).collect::<Vec<_>>(), (50..55).collect::<Vec<_>>());
    assert_eq!(take(early.as_mut(), 45).await.iter().map(number).collect::<Vec<_>>(), (10..55).collect::<Vec<_>>());
}

pub(super) async fn beyond_end(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    fill(log.as_ref(), &topic, 0, 0..3).await;
    let mut reader = log.reader(&topic, 0, 1000).await.expect("it shows at the first read");
    let error = within(reader.next(1)).await.map(drop);
    assert!(matches!(error, Err(LogError::OutOfRange { offset: 1000, .. })), "{error:?}");
    assert_eq!(within(record_at(log.as_ref(), &topic, 0, 1000)).await.expect("readable"), None);
}

pub(super) async fn trimmed(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    fill(log.as_ref(), &topic, 0, 0..1200).await;
    let before = read(log.as_ref(), &topic, 0, 1199, 1).await;
    factory.trim(&log, &topic).await;
    let marks = within(log.watermarks(&topic, 0)).await.expect("readable");
    assert_eq!(marks, Watermarks { low: 1199, next: 1200 }, "the newest record stays");
    let mut reader = log.reader(&topic, 0, 600).await.expect("it shows at the first read");
    let error = within(reader.next(1)).await.map(drop);
    assert!(matches!(error, Err(LogError::OutOfRange { offset: 600, .. })), "neither skipped nor rewound: {error:?}");
    assert_eq!(within(record_at(log.as_ref(), &topic, 0, 600)).await.expect("readable"), None);
    fill(log.as_ref(), &topic, 0, 1200..1202).await;
    let log = factory.reopen(log).await;
    let marks = within(log.watermarks(&topic, 0)).await.expect("readable");
    assert_eq!(marks, Watermarks { low: 1199, next: 1202 });
    let after = read(log.as_ref(), &topic, 0, 1199, 3).await;
    assert_eq!(after[0], before[0]);
    assert_eq!(after.iter().map(number).collect::<Vec<_>>(), [1199, 1200, 1201]);
    assert_eq!(within(log.offset_at(&topic, 0, 0)).await.expect("readable"), Some(1199));
}

pub(super) async fn fingerprints(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 2).await;
    fill(log.as_ref(), &topic, 0, 0..30).await;
    fill(log.as_ref(), &topic, 1, 1..31).await;
    let of = |records: &[crate::Record]| records.iter().map(crate::Record::fingerprint).collect::<Vec<_>>();
    let once = of(&read(log.as_ref(), &topic, 0, 0, 30).await);
    let again = of(&read(log.as_ref(), &topic, 0, 0, 30).await);
    let other = factory.open().await;
    let elsewhere = of(&read(other.as_ref(), &topic, 0, 0, 30).await);
    let log = factory.reopen(log).await;
    let later = of(&read(log.as_ref(), &topic, 0, 0, 30).await);
    assert_eq!((&once, &once, &once), (&again, &elsewhere, &later), "the same record, whoever reads it");
    let others = of(&read(log.as_ref(), &topic, 1, 0, 30).await);
    assert!(once.iter().all(|fingerprint| !others.contains(fingerprint)), "another record, another fingerprint");
}

pub(super) async fn by_time(factory: &dyn Factory) {
    let (log, topic) = with_topic(factory, 1).await;
    assert_eq!(within(log.offset_at(&topic, 0, 0)).await.expect("readable"), None, "nothing is there yet");
    fill(log.as_ref(), &topic, 0, 0..1500).await;
    for n in 1500..1510 {
        fill(log.as_ref(), &topic, 0, n..n + 1).await;
        tokio::time::sleep(Duration::from_millis(2)).await; // makes append times differ
    }
    let records = read(log.as_ref(), &topic, 0, 0, 1510).await;
    let times: Vec<i64> = records.iter().map(|record| record.append_time_ms).collect();
    let (min, max) = (*times.iter().min().expect("some"), *times.iter().max().expect("some"));
    assert!(min < max, "append times differ");
    let mut wanted: Vec<i64> = times.iter().copied().step_by(97).chain(times[1490..].iter().copied()).collect();
    wanted.extend([min - 1, max + 1, 0]);
    for time in wanted {
        let first = times.iter().position(|found| *found >= time).map(|offset| offset as u64);
        assert_eq!(within(log.offset_at(&topic, 0, time)).await.expect("readable"), first, "at {time}");
    }
}
