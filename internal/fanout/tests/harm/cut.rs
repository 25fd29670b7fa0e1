//! A log that was cut short by an unclean failover and has grown again: reading fails once, then other records have the
//! same offsets. Going on from a bare offset would skip and double events unnoticed.

use events::topics::DELIVERIES;
use tokio::time::{sleep, timeout};

use super::*;
use crate::log::Harmed;

/// The log before, and the log afterwards: longer, and with other timestamps.
async fn logs() -> (SharedLog, SharedLog) {
    let (before, after) = (log(1_700_000_000_000).await, log(1_700_000_000_001).await);
    for (log, events) in [(&before, 5), (&after, 9)] {
        say(log, events).await;
        for seq in 1..events {
            read_up_to(log, seq).await;
        }
    }
    (before, after)
}

/// The consumer stops, and logs why.
async fn stops(running: Running, at: &TopicPartition) {
    let ended = timeout(Duration::from_secs(300), running.task).await.expect("it goes on in another log");
    let error = ended.unwrap().expect_err("it cannot go on").to_string();
    assert!(error.starts_with(&at.to_string()) && error.contains("is not the one that"), "{error}");
}

/// Waits until the fan-out has nothing more to append.
async fn delivered(log: &SharedLog) {
    let mut before = 0;
    for _ in 0..600 {
        sleep(Duration::from_secs(1)).await; // virtual time: lets the fan-out deliver, and commit
        let mut now = 0;
        for partition in 0..spec_of(DELIVERIES).partitions {
            now += log.watermarks(DELIVERIES, partition).await.unwrap().next;
        }
        if now == before && now > u64::from(spec_of(DELIVERIES).partitions) {
            return;
        }
        before = now;
    }
    panic!("nothing is delivered");
}

#[tokio::test(start_paused = true)]
async fn storage_stops_before_it_reads_on_in_another_log() {
    for (topic, last) in [(MESSAGES, 5), (RECEIPTS, 4)] {
        let ((before, after), store, harm) = (logs().await, new_store().await, CancellationToken::new());
        let at = partition_in(topic);
        let log = Harmed::turning(before, after, at.clone(), 0, harm.clone());
        let running = Running::storage(&log, &store, RULES_NEWEST);
        applied(&store, &at, last).await;
        harm.cancel();
        stops(running, &at).await;
        let source = Source { topic, partition: at.partition };
        assert_eq!(store.applied(source).await.unwrap().unwrap().seq.offset(), last, "nothing of it was written");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_not_re_driven_with_another_logs_records() {
    let ((before, after), store, harm) = (logs().await, new_store().await, CancellationToken::new());
    let at = partition_in(MESSAGES);
    let old = Running::storage(&before, &store, RULES_NEWEST - 1);
    applied(&store, &at, 5).await;
    old.stop().await;
    harm.cancel();
    // The conversation was held from its first event on.
    let log = Harmed::turning(before, after, at.clone(), 1, harm);
    stops(Running::storage(&log, &store, RULES_NEWEST), &at).await;
}

#[tokio::test(start_paused = true)]
async fn the_fan_out_stops_before_it_reads_on_in_another_log() {
    for topic in [MESSAGES, RECEIPTS] {
        let ((before, after), store, harm) = (logs().await, new_store().await, CancellationToken::new());
        let at = partition_in(topic);
        let storage = Running::storage(&before, &store, RULES_NEWEST);
        applied(&store, &partition_in(MESSAGES), 5).await;
        let log = Harmed::turning(before.clone(), after, at.clone(), 0, harm.clone());
        let running = Running::fanout(&log, &store);
        delivered(&before).await;
        harm.cancel();
        stops(running, &at).await;
        storage.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_conversation_is_not_read_again_in_another_log() {
    let ((before, after), store, harm) = (logs().await, new_store().await, CancellationToken::new());
    let at = partition_in(MESSAGES);
    // The conversation is parked, because storage does not run.
    let first = Running::fanout(&before, &store);
    sleep(Duration::from_secs(5)).await; // virtual time: takes in and commits
    first.stop().await;
    let commit = before.committed(GROUP_FANOUT, &at).await.unwrap().unwrap();
    assert!(commit.next == 6 && commit.metadata.matches(';').count() == 2, "one is parked: {commit:?}");
    let storage = Running::storage(&before, &store, RULES_NEWEST);
    applied(&store, &at, 5).await;
    harm.cancel();
    let parked_at = 6 - u64::from_str_radix(commit.metadata.rsplit(':').next().unwrap(), 36).unwrap();
    let log = Harmed::turning(before, after, at.clone(), parked_at, harm);
    stops(Running::fanout(&log, &store), &at).await;
    storage.stop().await;
}
