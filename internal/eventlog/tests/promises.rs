//! The faults of topics that readiness reports.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use environment::Clock;
use eventlog::embedded::EmbeddedLog;
use eventlog::promises::{Promises, watch};
use eventlog::wrapper::LogWrapper;
use eventlog::{EventLog, LogError, NewRecord, SharedLog, Watermarks, append};
use events::Codec;
use events::topics::{MESSAGES, RECEIPTS, SIGNALS, spec_of};
use tokio::sync::mpsc;

async fn begin(log: &dyn EventLog, topic: &str, partitions: impl IntoIterator<Item = u32>) {
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

#[tokio::test]
async fn no_program_waits_for_a_lossy_topic() {
    let log = EmbeddedLog::open(kv::Database::in_memory(), Clock::system()).await.unwrap();
    let (codec, mut promises) = (Codec::compiled_in(), Promises::of(&[SIGNALS]));
    assert_eq!(promises.fault(&*log, &codec).await.unwrap(), None, "nor when it is not there");
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

/// A log in which chosen partitions have no leader.
struct Leaderless {
    inner: Arc<EmbeddedLog>,
    without: Mutex<Vec<(&'static str, u32)>>,
}

impl Leaderless {
    fn set(&self, topic: &'static str, partitions: impl IntoIterator<Item = u32>) {
        *self.without.lock().unwrap() = partitions.into_iter().map(|partition| (topic, partition)).collect();
    }
}

#[async_trait]
impl LogWrapper for Leaderless {
    fn inner(&self) -> SharedLog {
        self.inner.clone()
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        let without = self.without.lock().unwrap().contains(&(topic, partition));
        if without {
            Err(LogError::Transient("no leader".into()))
        } else {
            self.inner.watermarks(topic, partition).await
        }
    }
}

#[tokio::test]
async fn a_partition_without_a_leader_is_no_fault_while_others_have_theirs() {
    let inner = EmbeddedLog::open(kv::Database::in_memory(), Clock::system()).await.unwrap();
    let (codec, mut promises) = (Codec::compiled_in(), Promises::of(&[MESSAGES, RECEIPTS]));
    let partitions = spec_of(RECEIPTS).partitions;
    for topic in [MESSAGES, RECEIPTS] {
        inner.create(spec_of(topic)).await.unwrap();
    }
    begin(&*inner, MESSAGES, 0..spec_of(MESSAGES).partitions).await;
    begin(&*inner, RECEIPTS, (0..partitions).filter(|partition| *partition != 3)).await;
    let log = Leaderless { inner, without: Mutex::default() };
    log.set(RECEIPTS, [3]);
    assert_eq!(promises.fault(&log, &codec).await.unwrap(), None);
    log.set(RECEIPTS, 0..partitions);
    let fault = promises.fault(&log, &codec).await.unwrap_err().to_string();
    assert!(fault.contains("no leader"), "{fault}");
    // A genesis record in a partition that did not answer counts as not seen.
    log.set(RECEIPTS, []);
    let fault = promises.fault(&log, &codec).await.unwrap().unwrap();
    assert!(fault.contains(&format!("{RECEIPTS}/3 has no genesis record")), "{fault}");
    begin(&log, RECEIPTS, 3..4).await;
    assert_eq!(promises.fault(&log, &codec).await.unwrap(), None);
    // The fault of another partition is reported even when partitions have no leader.
    let mut promises = Promises::of(&[MESSAGES]);
    let inner = EmbeddedLog::open(kv::Database::in_memory(), Clock::system()).await.unwrap();
    inner.create(spec_of(MESSAGES)).await.unwrap();
    let log = Leaderless { inner, without: Mutex::default() };
    log.set(MESSAGES, [0]);
    let fault = promises.fault(&log, &codec).await.unwrap().unwrap();
    assert!(fault.contains(&format!("{MESSAGES}/1 has no genesis record")), "{fault}");
}
