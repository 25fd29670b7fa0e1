//! The embedded log under power cuts, kills and full queues.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use environment::{Clock, Entropy};
use eventlog::consume::{ConsumeError, Ended, Work, consume};
use eventlog::embedded::EmbeddedLog;
use eventlog::{
    AppendError, AppendReceipt, EventLog, LogError, NewRecord, RECORD_BYTES_MAX, SharedLog, append, record_at,
};
use events::topics::{Lane, TopicSpec};
use kv::{Database, Power};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "topic";
const PARTITIONS: u32 = 2;

fn clock() -> Clock {
    Clock::from_fn(|| 1_700_000_000_000)
}

async fn open(database: Database) -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::open(database, clock()).await.unwrap();
    log.create(&TopicSpec {
        name: TOPIC.into(),
        partitions: PARTITIONS,
        generation: 0,
        retention: None,
        lane: Lane::Durable,
    })
    .await
    .unwrap();
    log
}

fn record(partition: u32, payload: impl Into<Vec<u8>>) -> NewRecord {
    let payload = Bytes::from(payload.into());
    NewRecord { key: "key".into(), partition: Some(partition), headers: Vec::new(), payload }
}

/// Lets every task run until none can continue.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Reads all records and checks that they have neither gaps nor duplicates.
async fn read_all(log: &EmbeddedLog, partition: u32) -> BTreeMap<u64, Bytes> {
    let mut found = BTreeMap::new();
    let range = log.watermarks(TOPIC, partition).await.unwrap();
    let mut reader = log.reader(TOPIC, partition, 0).await.unwrap();
    while (found.len() as u64) < range.next {
        for record in reader.next(7).await.unwrap() {
            assert_eq!(record.offset, found.len() as u64, "no gap, no step back");
            found.insert(record.offset, record.payload);
        }
    }
    found
}

/// Interleaving 13 (`sim/README.md`): power loss on the embedded log between write and sync, with a reader
/// waiting: no seq names two events.
#[tokio::test(start_paused = true)]
async fn power_loss_between_write_and_sync_with_a_reader_waiting() {
    for lucky in [0, 1] {
        let (database, power) = Power::supply();
        let log = open(database).await;
        append(log.as_ref(), TOPIC, record(0, "first")).await.unwrap();
        let mut reader = log.reader(TOPIC, 0, 1).await.unwrap();
        power.hold();
        let receipt = log.enqueue(TOPIC, record(0, "second")).await.unwrap();
        let mut waiting = Box::pin(reader.next(1));
        settle().await;
        assert_eq!(power.unsynced(), 1, "it is written");
        assert!(futures_util::poll!(&mut waiting).is_pending(), "and not shown");
        assert_eq!(log.watermarks(TOPIC, 0).await.unwrap().next, 1);
        let (database, _power) = power.cut(lucky);
        let fate = receipt.await;
        assert!(matches!(fate, Err(AppendError::Fatal(_))), "nobody was told that it is there: {fate:?}");
        assert!(futures_util::poll!(&mut waiting).is_pending(), "nor shown it");
        let log = open(database).await;
        let position = append(log.as_ref(), TOPIC, record(0, "third")).await.unwrap();
        assert_eq!(position.offset, 1 + lucky as u64, "its place is free, or stays its own");
        let expected: &[&str] = if lucky == 1 { &["first", "second", "third"] } else { &["first", "third"] };
        assert_eq!(read_all(&log, 0).await.into_values().collect::<Vec<_>>(), expected);
    }
}

/// Writes of a killed process that were not synced are visible after the restart, so they must be durable by then.
#[tokio::test(start_paused = true)]
async fn what_is_shown_after_a_kill_survives_a_power_cut() {
    let (database, power) = Power::supply();
    let log = open(database).await;
    power.hold();
    let _receipt = log.enqueue(TOPIC, record(0, "unsynced")).await.unwrap();
    settle().await;
    let (database, power) = power.cut(usize::MAX);
    let log = open(database).await;
    assert_eq!(read_all(&log, 0).await.len(), 1, "the process died, its writes did not");
    let (database, _power) = power.cut(0);
    assert_eq!(read_all(&*open(database).await, 0).await.into_values().collect::<Vec<_>>(), ["unsynced"]);
}

/// Random appends, delayed syncs, power cuts and kills: acknowledged records and records that were read never
/// change.
#[tokio::test(start_paused = true)]
async fn no_crash_takes_or_changes_what_anybody_saw() {
    for seed in 0..150 {
        let entropy = Entropy::seeded(seed);
        let (mut database, mut power) = Power::supply();
        let mut seen: BTreeMap<(u32, u64), Bytes> = BTreeMap::new();
        for _crash in 0..6 {
            let log = open(database).await;
            for ((partition, offset), payload) in &seen {
                let found = record_at(log.as_ref(), TOPIC, *partition, *offset).await.unwrap();
                assert_eq!(
                    found.map(|record| record.payload).as_ref(),
                    Some(payload),
                    "seed {seed}: {partition}/{offset}"
                );
            }
            let mut waiting: Vec<(Bytes, AppendReceipt)> = Vec::new();
            for _step in 0..entropy.below(40) {
                match entropy.below(6) {
                    0 => power.hold(),
                    1 => power.resume(),
                    2 => settle().await,
                    _ => {
                        let payload = Bytes::copy_from_slice(&entropy.bytes::<12>());
                        let partition = u32::try_from(entropy.below(2)).unwrap();
                        let receipt = log.enqueue(TOPIC, record(partition, payload.to_vec())).await.unwrap();
                        waiting.push((payload, receipt));
                    }
                }
                for partition in 0..PARTITIONS {
                    for (offset, payload) in read_all(&log, partition).await {
                        let before = seen.insert((partition, offset), payload.clone());
                        assert!(before.is_none_or(|before| before == payload), "seed {seed}: {partition}/{offset}");
                    }
                }
            }
            let lucky = usize::try_from(entropy.below(4)).unwrap();
            (database, power) = power.cut(if lucky == 3 { usize::MAX } else { lucky });
            for (payload, receipt) in waiting {
                if let Ok(position) = receipt.await {
                    let before = seen.insert((position.partition, position.offset), payload.clone());
                    assert!(before.is_none_or(|before| before == payload), "seed {seed}: {position:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_enqueues_become_few_syncs() {
    let (database, power) = Power::supply();
    let log = open(database).await;
    let before = power.syncs();
    let mut receipts = Vec::new();
    for number in 0..1000_u32 {
        receipts.push(log.enqueue(TOPIC, record(number % 2, number.to_be_bytes())).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert!(power.syncs() - before < 20, "{} syncs for 1000 records", power.syncs() - before);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_so_and_takes_more_when_it_has_room() {
    let (database, power) = Power::supply();
    let log = open(database).await;
    power.hold();
    let large = || record(0, vec![0; RECORD_BYTES_MAX - 100]);
    let mut receipts = Vec::new();
    let refused = loop {
        match log.enqueue(TOPIC, large()).await {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => break error,
        }
        assert!(receipts.len() < 100, "the queue is bounded");
    };
    assert!(matches!(refused, AppendError::Busy), "{refused:?}");
    power.resume();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    append(log.as_ref(), TOPIC, large()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_write_nothing_more_is_taken() {
    let (database, power) = Power::supply();
    let log = open(database).await;
    append(log.as_ref(), TOPIC, record(0, "first")).await.unwrap();
    let _ = power.cut(0);
    for _ in 0..2 {
        let fate = append(log.as_ref(), TOPIC, record(0, "lost")).await;
        assert!(matches!(fate, Err(AppendError::Fatal(_))), "{fate:?}");
    }
    assert_eq!(read_all(&log, 0).await.into_values().collect::<Vec<_>>(), ["first"], "what is there can be read");
    log.close().await;
}

/// A copy of the folder is the state that a killed process leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_on_disk_loses_nothing_that_was_acknowledged() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(Database::open(folder.path()).unwrap()).await;
    for round in 0..3_u32 {
        let mut receipts = Vec::new();
        for number in 0..2000 {
            receipts.push(log.enqueue(TOPIC, record(0, (round * 2000 + number).to_be_bytes())).await.unwrap());
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        let left = copy.path().join(round.to_string());
        copy_folder(folder.path(), &left);
        let after = open(Database::open(&left).unwrap()).await;
        let found = read_all(&after, 0).await;
        assert_eq!(found.len(), (round as usize + 1) * 2000);
        assert!(found.iter().all(|(offset, payload)| u32::try_from(*offset).unwrap().to_be_bytes() == payload[..]));
        after.close().await;
    }
    log.close().await;
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// After a permanent write failure, such as a full disk, nothing can be appended or committed. The consumers must
/// end instead of retrying for ever: a process that ends is restarted.
#[tokio::test(start_paused = true)]
async fn a_writer_that_failed_for_good_ends_the_consumers_with_its_error() {
    let (database, power) = Power::supply();
    let log: SharedLog = open(database).await;
    let (work, mut began) = (Arc::new(AtomicU32::new(0)), tokio::time::interval(Duration::from_secs(1)));
    let count = Arc::clone(&work);
    let appending = Arc::clone(&log);
    // Like the fan-out, which restarts when a record may be missing.
    let run: Work = Arc::new(move |_, _, stop| {
        count.fetch_add(1, Ordering::SeqCst);
        let log = Arc::clone(&appending);
        Box::pin(async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(Ended::Stopped),
                    appended = append(log.as_ref(), TOPIC, record(0, "x")) => {
                        if appended.is_err() {
                            return Ok(Ended::Again);
                        }
                        tokio::time::sleep(Duration::from_millis(10)).await; // virtual time
                    }
                }
            }
        })
    });
    let (entropy, shutdown) = (Entropy::seeded(1), CancellationToken::new());
    let mut consuming = Box::pin(consume(&log, "group", &[TOPIC], run, &entropy, shutdown));
    for _ in 0..3 {
        tokio::select! {
            biased;
            ended = &mut consuming => panic!("{ended:?}"),
            _ = began.tick() => {}
        }
    }
    let _ = power.cut(0);
    let ended = timeout(Duration::from_secs(10), consuming).await.expect("it tries for ever");
    let error = ended.unwrap_err();
    assert!(matches!(&error, ConsumeError::Group(LogError::Broken(_))), "{error:?}");
    assert!(error.to_string().contains("the power was cut"), "in words: {error}");
    assert!(work.load(Ordering::SeqCst) <= PARTITIONS * 3, "nor often: {work:?}");
}
