//! A log with faults: a wrapper around the embedded one in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use eventlog::wrapper::LogWrapper;
use eventlog::{
    AppendError, AppendReceipt, LogError, NewRecord, PartitionReader, Position, Record, SharedLog, TopicPartition,
    Watermarks,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The embedded log, with faults.
pub(crate) struct Harmed {
    inner: SharedLog,
    /// These partitions (all, if none is named) have no leader: an append to them is never answered.
    silent: Option<(&'static str, Option<u32>)>,
    unanswered: Mutex<Vec<oneshot::Sender<Result<Position, AppendError>>>>,
    shared: Arc<Shared>,
}

struct Shared {
    other: SharedLog,
    /// The partition and the first offset of the readers that fail.
    at: TopicPartition,
    from: u64,
    harm: CancellationToken,
    turned: AtomicBool,
}

impl Harmed {
    /// After one failed read it shows another log, as after an unclean failover when the log has grown again: readers
    /// of `at` that began at `from` fail once `harm` is done; from then on readers get `other`.
    pub(crate) fn turning(
        inner: SharedLog,
        other: SharedLog,
        at: TopicPartition,
        from: u64,
        harm: CancellationToken,
    ) -> SharedLog {
        let shared = Shared { other, at, from, harm, turned: AtomicBool::new(false) };
        Arc::new(Self { inner, silent: None, unanswered: Mutex::default(), shared: Arc::new(shared) })
    }

    /// Never answers appends to that topic, or to that partition of it.
    pub(crate) fn silent(inner: SharedLog, topic: &'static str, partition: Option<u32>) -> SharedLog {
        let (other, at, harm) = (inner.clone(), TopicPartition::new("none", 0), CancellationToken::new());
        let shared = Shared { other, at, from: 0, harm, turned: AtomicBool::new(false) };
        Arc::new(Self {
            inner,
            silent: Some((topic, partition)),
            unanswered: Mutex::default(),
            shared: Arc::new(shared),
        })
    }

    fn read(&self) -> &SharedLog {
        if self.shared.turned.load(Ordering::SeqCst) { &self.shared.other } else { &self.inner }
    }
}

struct Failing {
    inner: Box<dyn PartitionReader>,
    shared: Arc<Shared>,
}

#[async_trait]
impl PartitionReader for Failing {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Record>, LogError> {
        tokio::select! {
            biased;
            () = self.shared.harm.cancelled() => {
                self.shared.turned.store(true, Ordering::SeqCst);
                Err(LogError::Transient("the leader is gone".into()))
            }
            records = self.inner.next(records_max) => records,
        }
    }
}

#[async_trait]
impl LogWrapper for Harmed {
    fn inner(&self) -> SharedLog {
        self.inner.clone()
    }

    async fn enqueue(&self, topic: &str, record: NewRecord) -> Result<AppendReceipt, AppendError> {
        let silent = |(silent, partition): (&str, Option<u32>)| {
            silent == topic && (partition.is_none() || partition == record.partition)
        };
        if self.silent.is_some_and(silent) {
            let (report, receipt) = AppendReceipt::new();
            self.unanswered.lock().unwrap().push(report);
            return Ok(receipt);
        }
        self.inner.enqueue(topic, record).await
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let inner = self.read().reader(topic, partition, from).await?;
        let at = TopicPartition::new(topic, partition);
        if at != self.shared.at || from != self.shared.from || self.shared.turned.load(Ordering::SeqCst) {
            return Ok(inner);
        }
        Ok(Box::new(Failing { inner, shared: Arc::clone(&self.shared) }))
    }

    async fn watermarks(&self, topic: &str, partition: u32) -> Result<Watermarks, LogError> {
        self.read().watermarks(topic, partition).await
    }

    async fn offset_at(&self, topic: &str, partition: u32, time_ms: i64) -> Result<Option<u64>, LogError> {
        self.read().offset_at(topic, partition, time_ms).await
    }
}
