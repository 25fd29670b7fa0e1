//! What observers of the log on Kafka are told, on librdkafka's own mock cluster.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use eventlog::{
    AppendObserver, AppendOutcome, NewRecord, PartitionReader, RECORD_BYTES_MAX, SharedLog, TopicPartition, append,
};
use eventlog_kafka::{KafkaConfig, KafkaLog, KafkaObservers, Queued, ReaderObserver, ReaderStatistics};
use events::topics::{MESSAGES, spec_of};
use rdkafka::mocking::MockCluster;
use tokio::sync::watch;
use tokio::time::timeout;

/// The partition that is written and read.
const PARTITION: u32 = 3;
/// Records that are appended.
const RECORDS: usize = 100;
/// Those of them that the reader takes at first.
const TAKEN: usize = 40;
/// Statistics come every five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn record(bytes: usize) -> NewRecord {
    let payload = Bytes::from(vec![b'x'; bytes]);
    NewRecord { key: "key".into(), partition: Some(PARTITION), headers: Vec::new(), payload }
}

async fn take(reader: &mut dyn PartitionReader, mut count: usize) {
    while count > 0 {
        count -= timeout(PATIENCE, reader.next(count)).await.unwrap().unwrap().len();
    }
}

/// Waits until so many records of the partition are behind its reader; returns what was told of it then.
async fn behind(told: &mut watch::Receiver<Vec<ReaderStatistics>>, lag: u64) -> Queued {
    let at = TopicPartition::new(MESSAGES, PARTITION);
    let latest = |told: &Vec<ReaderStatistics>| told.last().and_then(|latest| latest.partitions.get(&at).copied());
    let reached = told.wait_for(|told| latest(told).is_some_and(|queued| queued.lag == Some(lag)));
    let reached = timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("a lag of {lag} is never told"));
    latest(&reached.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_told_with_their_fate_and_readers_with_what_is_behind_them() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(MESSAGES, spec_of(MESSAGES).partitions.try_into().unwrap(), 1).unwrap();
    let appends = Arc::new(Mutex::new(Vec::new()));
    let (tell, mut told) = watch::channel(Vec::new());
    let noted = Arc::clone(&appends);
    let observers = KafkaObservers {
        appends: AppendObserver::new(move |topic, outcome, took| noted.lock().unwrap().push((topic, outcome, took))),
        readers: ReaderObserver::new(move |statistics| tell.send_modify(|told| told.push(statistics))),
        ..KafkaObservers::default()
    };
    let config = KafkaConfig { dev: true, observers, ..KafkaConfig::new(cluster.bootstrap_servers(), "observed") };
    let log: SharedLog = KafkaLog::connect(config).await.unwrap();
    for _ in 0..RECORDS {
        append(&*log, MESSAGES, record(100)).await.unwrap();
    }
    append(&*log, MESSAGES, record(RECORD_BYTES_MAX + 1)).await.unwrap_err();
    let appends = std::mem::take(&mut *appends.lock().unwrap());
    let (durable, failed): (Vec<_>, Vec<_>) =
        appends.iter().partition(|(_, outcome, _)| matches!(outcome, AppendOutcome::Acknowledged { .. }));
    assert_eq!((durable.len(), failed.len()), (RECORDS, 1), "{appends:?}");
    let likely = Duration::from_nanos(1)..PATIENCE;
    assert!(durable.iter().all(|(topic, _, took)| *topic == MESSAGES && likely.contains(took)), "{durable:?}");

    let mut reader = log.reader(MESSAGES, PARTITION, 0).await.unwrap();
    take(&mut *reader, TAKEN).await;
    let queued = behind(&mut told, (RECORDS - TAKEN) as u64).await;
    // The others were fetched ahead.
    assert_eq!(queued.records, (RECORDS - TAKEN) as u64);
    assert!(queued.bytes >= 100 * queued.records, "{queued:?}");
    take(&mut *reader, RECORDS - TAKEN).await;
    behind(&mut told, 0).await;
    let fetched = told.borrow().iter().filter_map(|told| Some(told.fetched.get(MESSAGES)?.records)).sum::<u64>();
    assert_eq!(fetched, RECORDS as u64, "each record was fetched once, and counts once");
    let rtt = told.borrow().iter().map(|told| told.rtt_p99_us).max();
    assert!(rtt.is_some_and(|rtt| rtt > 0), "requests take some time: {:?}", told.borrow());
    log.close().await;
}
