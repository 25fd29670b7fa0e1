//! One record that this program cannot read: it waits alone, everything else goes on (I7).

use events::topics::{DELIVERIES, QUARANTINE};
use events::{AccountEvent, UserEvent};
use store::{Consumer, HistoryStore, Hold, HoldStore};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::*;
use crate::log::Harmed;

/// A program that knows the schemas of [`put_unknown`].
fn upgraded() -> Codec {
    Codec::with_ids((1000..).take(events::SchemaKind::ALL.len()).collect())
}

/// Appends like a producer that sets no headers, with an id of the registry's that no program of today knows.
async fn put_unknown(log: &SharedLog, at: &TopicPartition, encoded: events::Encoded) {
    put(log, at, Vec::new(), encoded.payload).await;
}

/// The first user's read mark, which only an upgraded program can read.
async fn read_unknown(log: &SharedLog, seq: u64) {
    let mark = ReadMark { user: user(1), conversation: conversation(), seq: Seq::new(0, seq).unwrap(), ordinal: 1 };
    put_unknown(log, &partition_in(RECEIPTS), upgraded().read_mark(&mark)).await;
}

fn sign_in() -> UserEvent {
    UserEvent { id: Uuid::from_u128(7), user: user(2), time_ms: 1, what: AccountEvent::SessionStarted }
}

async fn put_sign_in(log: &SharedLog, partition: u32) {
    let encoded = Codec::compiled_in().user_event(&sign_in());
    put(log, &TopicPartition::new(USERS, partition), encoded.headers, encoded.payload).await;
}

/// The frames in `chat.deliveries` that contain this text.
async fn frames(log: &SharedLog, what: &str) -> usize {
    let (codec, mut found) = (Codec::compiled_in(), 0);
    for partition in 0..spec_of(DELIVERIES).partitions {
        let (mut reader, mut at) = (log.reader(DELIVERIES, partition, 0).await.unwrap(), 0);
        while at < log.watermarks(DELIVERIES, partition).await.unwrap().next {
            for record in reader.next(500).await.unwrap() {
                at = record.offset + 1;
                let delivery = codec.read_delivery(&record.headers, &record.payload).unwrap();
                found += usize::from(delivery.is_some_and(|delivery| delivery.frame.contains(what)));
            }
        }
    }
    found
}

/// Issue 10, item 5: such a record stopped its whole partition; now it waits for the upgrade alone.
#[tokio::test(start_paused = true)]
async fn a_read_mark_of_an_unknown_schema_harms_nobody_and_is_applied_after_the_upgrade() {
    let (log, store, at) = (log(1_700_000_000_000).await, new_store().await, partition_in(RECEIPTS));
    read_up_to(&log, 1).await;
    read_unknown(&log, 3).await;
    read_unknown(&log, 2).await;
    read_up_to(&log, 2).await;
    let running = Running::storage(&log, &store, RULES_NEWEST);
    applied(&store, &at, 4).await;
    let marks = async |n| store.marks(user(n), &[conversation()]).await.unwrap()[0].map(|mark| mark.seq.get());
    assert_eq!((marks(1).await, marks(2).await), (None, Some(2)));
    let hold = async || store.hold(Consumer::Marks, at.partition, conversation()).await.unwrap();
    let at_seq = |offset| Some(Seq::new(0, offset).unwrap());
    assert_eq!(hold().await, Hold { skipped_to: at_seq(3), done_through: at_seq(1) });
    sleep(Duration::from_secs(600)).await; // virtual time: it looks again, and again
    read_unknown(&log, 1).await;
    applied(&store, &at, 5).await;
    assert_eq!(hold().await, Hold { skipped_to: at_seq(5), done_through: at_seq(1) });
    running.stop().await;

    let running = Running::storage_with(upgraded(), &log, &store, RULES_NEWEST);
    sleep(Duration::from_secs(70)).await; // virtual time: it looks at what is held
    assert_eq!((marks(1).await, marks(2).await), (Some(3), Some(2)));
    assert!(!hold().await.is_held() && running.tells("storage_healed_holds_total 1"), "{}", running.metrics.text());
    running.stop().await;
}

/// Issue 10, item 5, for the fan-out: its frames are delivered after the upgrade, and no earlier ones are missing.
#[tokio::test(start_paused = true)]
async fn records_of_unknown_schemas_wait_alone_and_are_relayed_after_the_upgrade() {
    let (log, store, at) = (log(1_700_000_000_000).await, new_store().await, partition_in(RECEIPTS));
    read_up_to(&log, 1).await;
    read_unknown(&log, 3).await;
    read_up_to(&log, 2).await;
    let accounts = TopicPartition::new(USERS, 3);
    put_unknown(&log, &accounts, upgraded().user_event(&sign_in())).await;
    put_sign_in(&log, 3).await;
    let running = Running::fanout(&log, &store);
    sleep(Duration::from_secs(600)).await; // virtual time: it looks again, and again
    assert_eq!((frames(&log, "\"read\"").await, frames(&log, "signed_in").await), (2, 1));
    assert!(running.tells("fanout_holds_total 2"), "{}", running.metrics.text());
    timeout(Duration::from_secs(1), running.stop()).await.expect("it does not wait for its next look");
    let commit = log.committed(GROUP_FANOUT, &at).await.unwrap().unwrap();
    assert_eq!(commit.next, 4, "the commit has passed what is held");

    let running = Running::fanout_with(upgraded(), &log, &store);
    sleep(Duration::from_secs(70)).await; // virtual time: it looks at what is held
    assert_eq!((frames(&log, "\"read\"").await, frames(&log, "signed_in").await), (3, 2));
    for (consumer, partition) in [(Consumer::MarksRelay, at.partition), (Consumer::AccountsRelay, 3)] {
        assert!(!store.hold(consumer, partition, conversation()).await.unwrap().is_held(), "{consumer:?}");
    }
    sleep(Duration::from_secs(200)).await; // virtual time: nothing is relayed again
    assert_eq!((frames(&log, "\"read\"").await, frames(&log, "signed_in").await), (3, 2));
    running.stop().await;
}

/// A record whose key is no id cannot be held.
#[tokio::test(start_paused = true)]
async fn an_unknown_schema_under_a_key_that_is_no_id_is_corrupt() {
    let (log, store) = (log(1_700_000_000_000).await, new_store().await);
    let (receipts, accounts) = (partition_in(RECEIPTS), TopicPartition::new(USERS, 3));
    for at in [&receipts, &accounts] {
        let payload = bytes::Bytes::from_static(b"\0\0\x01\0\0datum");
        let record = NewRecord { key: "k".into(), partition: Some(at.partition), headers: Vec::new(), payload };
        append(&*log, &at.topic, record).await.unwrap();
    }
    let (storage, fanout) = (Running::storage(&log, &store, RULES_NEWEST), Running::fanout(&log, &store));
    applied(&store, &receipts, 1).await;
    sleep(Duration::from_secs(10)).await; // virtual time: lets the fan-out go on
    assert_eq!(log.watermarks(QUARANTINE, 0).await.unwrap().next - 1, 2, "beside the genesis record");
    assert!(storage.tells("storage_holds_total 0") && fanout.tells("fanout_holds_total 0"));
    fanout.stop().await;
    storage.stop().await;
}

/// JSON of another producer, without headers, in every topic that the consumers read (issue 10, item 5): it has no
/// schema, so no upgrade would ever know it.
#[tokio::test(start_paused = true)]
async fn another_producers_json_stops_nothing_and_is_in_the_quarantine() {
    let (log, store) = (log(1_700_000_000_000).await, new_store().await);
    let (storage, fanout) = (Running::storage(&log, &store, RULES_NEWEST), Running::fanout(&log, &store));
    let json = || bytes::Bytes::from_static(b"{\"hello\":\"I am JSON\"}");
    let (messages, receipts) = (partition_in(MESSAGES), partition_in(RECEIPTS));
    for at in [&messages, &receipts, &TopicPartition::new(USERS, 3)] {
        put(&log, at, Vec::new(), json()).await;
    }
    say(&log, 3).await;
    read_up_to(&log, 3).await;
    put_sign_in(&log, 3).await;
    applied(&store, &messages, 4).await;
    applied(&store, &receipts, 2).await;
    sleep(Duration::from_secs(10)).await; // virtual time: lets the fan-out go on
    let came = (frames(&log, "message 2").await, frames(&log, "\"read\"").await, frames(&log, "signed_in").await);
    assert_eq!(came, (2, 1, 1));
    assert!(storage.tells("storage_holds_total 0") && fanout.tells("fanout_holds_total 0"));
    let copies = log.watermarks(QUARANTINE, 0).await.unwrap().next - 1;
    assert_eq!(copies, 3, "one of each topic, beside the genesis record");
    fanout.stop().await;
    storage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_without_a_leader_stops_no_partition_and_no_end() {
    let (log, store, at) = (log(1_700_000_000_000).await, new_store().await, partition_in(MESSAGES));
    let corrupt = Codec::compiled_in().tick().headers;
    for _ in 0..100 {
        put(&log, &at, corrupt.clone(), bytes::Bytes::from_static(b"?")).await;
    }
    say(&log, 3).await;
    let running = Running::storage(&Harmed::silent(log.clone(), QUARANTINE, None), &store, RULES_NEWEST);
    let begun = tokio::time::Instant::now();
    applied(&store, &at, 103).await;
    assert!(begun.elapsed() <= Duration::from_secs(6), "one copy is waited for, not a hundred: {:?}", begun.elapsed());
    assert!(running.tells("storage_corrupt_records_total 100"), "{}", running.metrics.text());
    sleep(Duration::from_secs(70)).await; // virtual time: copies are tried again
    put(&log, &at, corrupt, bytes::Bytes::from_static(b"?")).await;
    sleep(Duration::from_secs(1)).await; // virtual time: it waits for the copy
    timeout(Duration::from_millis(100), running.stop()).await.expect("the end does not wait for the copy");
}

/// Deliveries for the first user cannot be written: those for the second go on, from events and from read marks.
#[tokio::test(start_paused = true)]
async fn a_delivery_partition_without_a_leader_stops_no_other_and_no_end() {
    let (log, store) = (log(1_700_000_000_000).await, new_store().await);
    let storage = Running::storage(&log, &store, RULES_NEWEST);
    let of = |n| eventlog::partition_of_id(user(n).uuid(), spec_of(DELIVERIES).partitions);
    assert_ne!(of(1), of(2));
    let running = Running::fanout(&Harmed::silent(log.clone(), DELIVERIES, Some(of(1))), &store);
    for round in 1..6 {
        say_on(&log, 2 * round - 2..2 * round).await;
        read_up_to(&log, round).await;
        sleep(Duration::from_secs(2)).await; // virtual time: more than one commit would take
        let came = (frames(&log, "\"message\"").await, frames(&log, "\"read\"").await);
        let round = usize::try_from(round).unwrap();
        assert_eq!(came, (2 * round - 1, round), "the second user's");
    }
    timeout(Duration::from_secs(6), running.stop()).await.expect("the end does not wait for that partition");
    for at in [partition_in(MESSAGES), partition_in(RECEIPTS)] {
        let commit = log.committed(GROUP_FANOUT, &at).await.unwrap().unwrap();
        if at.topic == MESSAGES {
            // What was never delivered is in the metadata, and all else is committed.
            let back = commit.metadata.split(';').find_map(|part| part.strip_prefix(&format!("@{}:", of(1))));
            let back = u64::from_str_radix(back.expect("the partition lags"), 36).unwrap();
            assert!(commit.next == 11 && commit.next - back <= 1, "{at}: {commit:?}");
        }
    }
    storage.stop().await;
}
