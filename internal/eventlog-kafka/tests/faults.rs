//! The log on Kafka under faults, on librdkafka's own mock cluster: no server is needed.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use eventlog::{AppendError, Commit, CommitError, GroupEvent, LogError, NewRecord, SharedLog, TopicPartition, append};
use eventlog_kafka::{KafkaConfig, KafkaLog};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::time::timeout;

const TOPIC: &str = "topic";
const PATIENCE: Duration = Duration::from_secs(60);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    cluster
}

async fn connect(cluster: &Cluster, delivery_timeout: Option<Duration>) -> SharedLog {
    let mut config = KafkaConfig::new(cluster.bootstrap_servers(), "faults");
    config.dev = true;
    config.delivery_timeout = delivery_timeout;
    config.session_timeout = Duration::from_secs(6);
    KafkaLog::connect(config).await.unwrap()
}

fn record(number: u32) -> NewRecord {
    let payload = Bytes::copy_from_slice(&number.to_be_bytes());
    NewRecord { key: "key".into(), partition: Some(0), headers: Vec::new(), payload }
}

/// Reads the numbers of the first `count` records.
async fn numbers(log: &SharedLog, count: usize) -> Vec<u32> {
    let mut reader = log.reader(TOPIC, 0, 0).await.unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let records = timeout(PATIENCE, reader.next(count)).await.unwrap().unwrap();
        numbers.extend(records.iter().map(|record| u32::from_be_bytes(record.payload[..4].try_into().unwrap())));
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fatal_error_nothing_is_appended_until_everybody_has_heard_of_it() {
    let cluster = cluster();
    let log = connect(&cluster, None).await;
    append(log.as_ref(), TOPIC, record(0)).await.unwrap();
    // The error of a broker that has lost the producer's records: no retry can be safe.
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[lost; 3]);
    let mut receipts = Vec::new();
    let refused = timeout(PATIENCE, async {
        loop {
            match log.enqueue(TOPIC, record(1)).await {
                Ok(receipt) => receipts.push(receipt),
                Err(error) => return error,
            }
            tokio::time::sleep(Duration::from_millis(1)).await; // paces the load
        }
    });
    let refused = refused.await.unwrap();
    assert!(matches!(refused, AppendError::Fatal(_)), "{refused:?}");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    let last = receipts.pop().unwrap();
    for receipt in receipts {
        let fate = timeout(PATIENCE, receipt).await.expect("what was in flight is given up");
        assert!(matches!(fate, Err(AppendError::Fatal(_))), "{fate:?}");
    }
    let early = log.enqueue(TOPIC, record(2)).await.map(drop);
    assert!(matches!(early, Err(AppendError::Fatal(_))), "one receipt has not been read yet: {early:?}");
    drop(last);
    let position = timeout(PATIENCE, append(log.as_ref(), TOPIC, record(3))).await.unwrap().unwrap();
    assert_eq!(position.offset, 1, "nothing of the gap was appended");
    assert_eq!(numbers(&log, 2).await, [0, 3]);
    log.close().await;
}

/// A record that fills a batch by itself.
fn large(number: u32) -> NewRecord {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(600_000, 0);
    NewRecord { payload: payload.into(), ..record(number) }
}

/// The first of many batches in flight fails for good. The fan-out would send all of them again; a device that had
/// received the later ones by then would drop the first one as a duplicate.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_timeout_nothing_is_appended_behind_a_record_that_failed() {
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    for refused in [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN, too_large] {
        let cluster = cluster();
        let log = connect(&cluster, None).await;
        append(log.as_ref(), TOPIC, record(0)).await.unwrap();
        // Five batches, of one record each, are sent before the first answer arrives; the broker accepts none after a gap.
        // Long enough for a busy machine to hand over all records meanwhile.
        cluster.broker_round_trip_time(1, Duration::from_secs(3)).unwrap();
        let behind = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        cluster.request_errors(RDKafkaApiKey::Produce, &[refused, behind, behind, behind, behind]);
        let mut receipts = Vec::new();
        for number in 1..=8 {
            receipts.push(log.enqueue(TOPIC, large(number)).await.unwrap());
        }
        for (receipt, number) in receipts.into_iter().zip(1..) {
            let fate = timeout(PATIENCE, receipt).await.expect("what was in flight is given up");
            match fate {
                Err(AppendError::TooLarge) => assert!(number == 1 && refused == too_large),
                fate => assert!(matches!(fate, Err(AppendError::Fatal(_))), "{refused:?}: {number}: {fate:?}"),
            }
        }
        cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
        let position = timeout(PATIENCE, append(log.as_ref(), TOPIC, large(1))).await.unwrap().unwrap();
        assert_eq!(position.offset, 1, "{refused:?}: nothing is there before the first one is");
        assert_eq!(numbers(&log, 2).await, [0, 1]);
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_timeout_records_wait_for_the_broker_and_keep_their_order() {
    let cluster = cluster();
    let log = connect(&cluster, None).await;
    append(log.as_ref(), TOPIC, record(0)).await.unwrap();
    cluster.broker_down(1).unwrap();
    let mut receipts = Vec::new();
    for number in 1..500 {
        receipts.push(log.enqueue(TOPIC, record(number)).await.unwrap());
    }
    assert!(timeout(Duration::from_secs(2), &mut receipts[0]).await.is_err(), "not acknowledged by nobody");
    cluster.broker_up(1).unwrap();
    for (receipt, offset) in receipts.into_iter().zip(1..) {
        assert_eq!(timeout(PATIENCE, receipt).await.unwrap().unwrap().offset, offset);
    }
    assert_eq!(numbers(&log, 500).await, (0..500).collect::<Vec<_>>());
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_timeout_a_record_that_is_not_acknowledged_is_of_unknown_fate() {
    let cluster = cluster();
    let log = connect(&cluster, Some(Duration::from_millis(500))).await;
    append(log.as_ref(), TOPIC, record(0)).await.unwrap();
    cluster.broker_down(1).unwrap();
    let fate = timeout(PATIENCE, append(log.as_ref(), TOPIC, record(1))).await.unwrap();
    assert!(matches!(fate, Err(AppendError::Unknown)), "{fate:?}");
    let unreachable = timeout(PATIENCE, log.watermarks(TOPIC, 0)).await.unwrap();
    assert!(matches!(unreachable, Err(LogError::Transient(_))), "{unreachable:?}");
    cluster.broker_up(1).unwrap();
    let mut again = Err(AppendError::Unknown);
    while matches!(again, Err(AppendError::Unknown)) {
        again = timeout(PATIENCE, append(log.as_ref(), TOPIC, record(2))).await.unwrap();
    }
    assert_eq!(again.unwrap().partition, 0);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_a_long_backlog_misses_nothing() {
    const RECORDS: u32 = 40_000;
    let cluster = cluster();
    let log = connect(&cluster, None).await;
    let mut receipts = Vec::new();
    for number in 0..RECORDS {
        receipts.push(log.enqueue(TOPIC, record(number)).await.unwrap());
    }
    for receipt in receipts {
        timeout(PATIENCE, receipt).await.unwrap().unwrap();
    }
    let mut reader = log.reader(TOPIC, 0, 0).await.unwrap();
    let mut next = 0;
    while next < RECORDS {
        let records = timeout(PATIENCE, reader.next(300)).await.unwrap().unwrap();
        for record in &records {
            assert_eq!(record.payload[..], next.to_be_bytes(), "offset {}", record.offset);
            next += 1;
        }
        // Read more slowly than the broker sends, so that the partition's queue is full again and again.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // A reader that leaves a full queue behind must not affect the next one.
    let mut first = log.reader(TOPIC, 0, 0).await.unwrap();
    timeout(PATIENCE, first.next(1)).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await; // its queue fills
    drop(first);
    assert_eq!(numbers(&log, RECORDS as usize).await.len(), RECORDS as usize);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_the_group_has_forgotten_loses_its_share_and_gets_it_back() {
    let cluster = cluster();
    let log = connect(&cluster, None).await;
    let mut member = log.join("group", &[TOPIC]).await.unwrap();
    let GroupEvent::Assigned(assigned) = timeout(PATIENCE, member.next()).await.unwrap().unwrap() else { panic!() };
    assert_eq!(assigned.len(), 2);
    let committer = member.committer();
    let at = TopicPartition::new(TOPIC, 0);
    let commit = |next| [(at.clone(), Commit { next, metadata: "here".into() })];
    timeout(PATIENCE, committer.commit(&commit(5))).await.unwrap().unwrap();
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    // The broker answers so to the first request after the session has ended.
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[unknown]);
    let late = timeout(PATIENCE, committer.commit(&commit(6))).await.unwrap();
    assert!(matches!(late, Err(CommitError::Fenced)), "{late:?}");
    let lost = timeout(PATIENCE, member.next()).await.unwrap().unwrap();
    assert!(matches!(&lost, GroupEvent::Lost(partitions) if partitions.len() == 2), "{lost:?}");
    let GroupEvent::Assigned(again) = timeout(PATIENCE, member.next()).await.unwrap().unwrap() else { panic!() };
    let again = again.into_iter().find(|assigned| assigned.at == at).unwrap();
    assert_eq!(again.commit, Some(commit(5)[0].1.clone()), "the commit in time stands");
    timeout(PATIENCE, committer.commit(&commit(7))).await.unwrap().unwrap();
    log.close().await;
}
