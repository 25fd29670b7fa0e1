//! What readiness is told about topics.

#![allow(clippy::unwrap_used)]

use eventlog::embedded::EmbeddedLog;
use eventlog::promises::{Promises, watch};
use eventlog::{EventLog, NewRecord, append};
use events::Codec;
use events::topics::{MESSAGES, RECEIPTS, spec_of};
use host::Clock;
use tokio::sync::mpsc;

async fn begin(log: &dyn EventLog, topic: &str, partitions: std::ops::Range<u32>) {
    for partition in partitions {
        let encoded = Codec::compiled_in().genesis([0; 16], spec_of(topic).generation);
        let (headers, payload) = (encoded.headers, encoded.payload);
        let record = NewRecord { key: "genesis".into(), partition: Some(partition), headers, payload };
        append(log, topic, record).await.unwrap();
    }
}

#[tokio::test]
async fn every_topic_must_be_there_and_begin_with_its_genesis_records() {
    let log = EmbeddedLog::open(kv::Database::in_memory(), Clock::system()).await.unwrap();
    let (codec, mut promises) = (Codec::compiled_in(), Promises::of(&[MESSAGES, RECEIPTS]));
    let last = spec_of(MESSAGES).partitions - 1;
    let fault = promises.fault(&*log, &codec).await.unwrap().unwrap();
    assert!(
        fault.contains(&format!("no topic {MESSAGES}")) && fault.contains(&format!("no topic {RECEIPTS}")),
        "{fault}"
    );
    log.create(spec_of(MESSAGES)).await.unwrap();
    begin(&*log, MESSAGES, 0..last).await;
    let fault = promises.fault(&*log, &codec).await.unwrap().unwrap();
    assert!(fault.contains(&format!("{MESSAGES}/{last} has no genesis record")), "{fault}");
    begin(&*log, MESSAGES, last..last + 1).await;
    let fault = promises.fault(&*log, &codec).await.unwrap().unwrap();
    assert!(!fault.contains(MESSAGES) && fault.contains(RECEIPTS), "{fault}");
    log.create(spec_of(RECEIPTS)).await.unwrap();
    begin(&*log, RECEIPTS, 0..spec_of(RECEIPTS).partitions).await;
    assert_eq!(promises.fault(&*log, &codec).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_when_it_turns() {
    let log = EmbeddedLog::open(kv::Database::in_memory(), Clock::system()).await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let watched = log.clone();
    let watching = tokio::spawn(async move {
        let codec = Codec::compiled_in();
        watch(&*watched, &[MESSAGES], &codec, |fault| tell.send(fault).unwrap()).await
    });
    assert!(told.recv().await.unwrap().is_some());
    log.create(spec_of(MESSAGES)).await.unwrap();
    begin(&*log, MESSAGES, 0..spec_of(MESSAGES).partitions).await;
    while told.recv().await.unwrap().is_some() {}
    log.close().await;
    while told.recv().await.unwrap().is_none() {}
    watching.abort();
}
